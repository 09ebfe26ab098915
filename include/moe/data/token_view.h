#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

namespace moe {

using Tokens = std::vector<std::int32_t>;

/// Ids one after another wherever they lie: in a vector, or in a token file
/// (moe/data/token_file.h). Cheap to copy. What it shows must outlive it, where it is.
class TokenView {
 public:
  TokenView() = default;
  TokenView(const Tokens& tokens) : TokenView(std::span(tokens)) {}  // NOLINT: a vector is one
  explicit TokenView(std::span<const std::int32_t> ids) : ids_(ids.data()), size_(ids.size()) {}
  explicit TokenView(std::span<const std::uint16_t> ids)
      : ids_(ids.data()), size_(ids.size()), is_narrow_(true) {}

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::int32_t operator[](std::size_t at) const {
    return is_narrow_ ? as<std::uint16_t>()[at] : as<std::int32_t>()[at];
  }
  std::int32_t back() const { return (*this)[size_ - 1]; }

  /// use(ids), where they are of 16 or of 32 bits: a loop over many asks for their width once.
  template <class Use>
  decltype(auto) visit(const Use& use) const {
    return is_narrow_ ? use(as<std::uint16_t>()) : use(as<std::int32_t>());
  }
  /// The ids in [begin, begin + count), which it has.
  TokenView part(std::size_t begin, std::size_t count) const {
    return visit([&](const auto* ids) { return TokenView(std::span(ids + begin, count)); });
  }
  /// Appends the ids in [begin, begin + count) to `out`.
  template <class T>
  void append(std::size_t begin, std::size_t count, std::vector<T>& out) const {
    visit([&](const auto* ids) { out.insert(out.end(), ids + begin, ids + begin + count); });
  }
  /// A copy, as a vector.
  Tokens copy() const {
    Tokens out;
    append(0, size_, out);
    return out;
  }

 private:
  template <class T>
  const T* as() const {
    return static_cast<const T*>(ids_);
  }

  const void* ids_ = nullptr;
  std::size_t size_ = 0;
  bool is_narrow_ = false;
};

}  // namespace moe
