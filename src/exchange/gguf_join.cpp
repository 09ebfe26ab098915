#include "exchange/gguf_join.h"

#include <algorithm>
#include <stdexcept>

#include "moe/base/text.h"

namespace moe {

namespace {

std::size_t size_of(std::int64_t size) { return static_cast<std::size_t>(size); }

std::size_t values_of_part(const GgufPart& part) {
  std::size_t count = 1;
  for (const auto size : part.shape) count *= size_of(size);
  return count;
}

/// How the values of pieces lie in the tensor: `copy(at, piece, from, count)` for each run of them.
template <class Copy>
void for_each_run(const GgufPart& part, const Copy& copy) {
  const auto all = values_of_part(part), count = part.pieces.size(), each = all / count;
  const auto width = size_of(part.shape.back());
  for (std::size_t piece = 0; piece < count; ++piece) {
    const auto begin = piece * each;
    if (part.join == GgufJoin::rows) {
      copy(begin, piece, 0, each);
    } else if (part.join == GgufJoin::rotary_rows) {
      const auto rows = each / width;  // (2, D/2) here, (D/2, 2) there
      for (std::size_t row = 0; row < rows; ++row)
        copy(begin + (row % (rows / 2) * 2 + row / (rows / 2)) * width, piece, row * width, width);
    } else {
      const auto part_width = width / count;
      for (std::size_t row = 0; row < all / width; ++row)
        copy(row * width + piece * part_width, piece, row * part_width, part_width);
    }
  }
}

void scale(std::span<float> values, double factor) {
  if (factor == 1) return;
  for (auto& value : values) value *= static_cast<float>(factor);
}

template <class Value>
std::span<Value> checked_piece(std::span<Value> piece, const GgufPart& part, std::size_t place) {
  if (piece.size() * part.pieces.size() != values_of_part(part))
    throw std::logic_error(
        cat(part.pieces[place], " has ", piece.size(), " values for ", part.name));
  return piece;
}

/// Pieces whose values need not be moved go out one by one; of others the whole tensor is made.
void join_by_moving(const GgufPart& part, const PublishedValues& values, const ValueSink& sink) {
  std::vector<float> joined(values_of_part(part));
  for_each_run(part, [&](std::size_t at, std::size_t piece, std::size_t from, std::size_t count) {
    const auto run = checked_piece(values(part.pieces[piece]), part, piece).subspan(from, count);
    std::ranges::copy(run, joined.begin() + static_cast<std::ptrdiff_t>(at));
  });
  scale(joined, part.factor);
  sink(joined);
}

}  // namespace

void join_pieces(const GgufPart& part, const PublishedValues& values, const ValueSink& sink) {
  if (part.join == GgufJoin::zeros) return sink(std::vector<float>(values_of_part(part)));
  if (part.join != GgufJoin::rows || part.factor != 1) return join_by_moving(part, values, sink);
  for (std::size_t piece = 0; piece < part.pieces.size(); ++piece)
    sink(checked_piece(values(part.pieces[piece]), part, piece));
}

void split_pieces(const GgufPart& part, std::span<const float> joined, std::string_view where,
                  const PublishedRoom& room) {
  if (part.join == GgufJoin::zeros) {
    if (std::ranges::any_of(joined, [](float value) { return value != 0; }))
      throw CheckpointError(cat(where, ": tensor \"", part.name,
                                "\" has values, and the model of this file has no use for them; "
                                "take the file as makemoe wrote it"));
    return;
  }
  for_each_run(part, [&](std::size_t at, std::size_t piece, std::size_t from, std::size_t count) {
    const auto to = checked_piece(room(part.pieces[piece]), part, piece).subspan(from, count);
    std::ranges::copy(joined.subspan(at, count), to.begin());
    scale(to, 1 / part.factor);
  });
}

}  // namespace moe
