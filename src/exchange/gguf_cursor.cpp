#include "exchange/gguf_cursor.h"

#include <algorithm>

#include "moe/base/text.h"

namespace moe {

namespace {

constexpr std::uint64_t kWindow = std::uint64_t{1} << 16U;
/// Of keys and names together: ten times what the largest vocabularies in use take.
constexpr std::uint64_t kMostFront = std::uint64_t{128} << 20U;

}  // namespace

void GgufCursor::refuse(const std::string& what) const {
  throw CheckpointError(cat(where_, ": ", what, "; the file is damaged or no GGUF file"));
}

std::string_view GgufCursor::take(std::uint64_t size, std::string_view what) {
  if (size > left())
    refuse(
        cat(what, " at byte ", at_, " takes ", size, " bytes, and the file has ", left(), " more"));
  if (size > kMostFront - std::min(at_, kMostFront))
    refuse(cat(what, " at byte ", at_, ": more than ", kMostFront, " bytes before the tensors"));
  if (at_ < held_at_ || at_ + size > held_at_ + held_.size()) {
    held_.resize(std::min(std::max(size, kWindow), left()));
    file_.read(at_, held_);
    held_at_ = at_;
  }
  const auto bytes = std::string_view(held_).substr(at_ - held_at_, size);
  at_ += size;
  return bytes;
}

std::string GgufCursor::text(std::string_view what) {
  const auto size = number<std::uint64_t>(what);
  auto value = std::string(take(size, what));
  if (!is_utf8(value)) refuse(cat(what, " \"", printable(value), "\" is not UTF-8"));
  return value;
}

std::uint64_t GgufCursor::count(std::uint64_t least, std::string_view what) {
  const auto value = number<std::uint64_t>(what);
  if (value > left() / least)
    refuse(cat(what, " is ", value, ", and the file has ", left(), " more bytes"));
  return value;
}

}  // namespace moe
