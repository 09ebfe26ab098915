#include "moe/base/sha256.h"

#include <openssl/evp.h>

#include <array>
#include <stdexcept>
#include <utility>

namespace moe {

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  bool finished = false;
  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  if (state_->context == nullptr || EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) != 1)
    throw std::logic_error("libcrypto has no SHA-256");
}
Sha256::~Sha256() = default;

Sha256& Sha256::update(std::string_view bytes) {
  if (state_->finished || EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) != 1)
    throw std::logic_error("Sha256::update after hex");
  return *this;
}

std::string Sha256::hex() {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  if (std::exchange(state_->finished, true) ||
      EVP_DigestFinal_ex(state_->context, digest.data(), &length) != 1)
    throw std::logic_error("Sha256::hex called twice");
  std::string out;
  for (unsigned int i = 0; i < length; ++i) {
    out += kHex[digest[i] >> 4U];
    out += kHex[digest[i] & 15U];
  }
  return out;
}

std::string sha256_hex(std::string_view bytes) { return Sha256().update(bytes).hex(); }

}  // namespace moe
