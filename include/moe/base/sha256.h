#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace moe {

/// SHA-256 (FIPS 180-4) by OpenSSL's libcrypto; lower-case hexadecimal.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  Sha256& update(std::string_view bytes);
  /// The digest of all that was given; the object may not be used afterwards.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string sha256_hex(std::string_view bytes);

}  // namespace moe
