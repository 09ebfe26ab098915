#include "train/material.h"

#include <algorithm>
#include <utility>

#include "moe/base/text.h"

namespace moe {

namespace {

Text read_noticed(const std::string& path, Log& log) {
  auto text = read_text(path);
  for (const auto& notice : text.notices) log.warn(cat(path, ": ", notice));
  return text;
}

}  // namespace

TextSize Material::size() const {
  const auto count = [](std::size_t n) { return static_cast<std::int64_t>(n); };
  return {count(text_bytes), count(corpus.train.capacity() + corpus.val.capacity()),
          count(corpus.train.size()), count(corpus.val.size())};
}

Material read_material(const RunConfig& config, Log& log) {
  const auto& data = config.data;
  if (data.path.empty())
    throw DataError(
        "data.path: no text is named; give --data FILE, or run data/fetch.sh and give --data "
        "data/tinyshakespeare.txt");
  auto text = read_noticed(data.path, log);
  auto tokenizer = CharTokenizer::from_text(text.utf8);
  auto tokens = tokenizer.encode(text.utf8, data.path);
  const auto bytes = text.utf8.size();
  text.utf8 = {};  // not to be held together with what follows: the peak of memory
  if (data.val_path.empty())
    return {tokenizer,
            split_by_position(std::move(tokens), data.train_fraction, config.model.block_size,
                              data.path),
            text.sha256, bytes};
  const auto val = read_noticed(data.val_path, log);
  Corpus corpus{std::move(tokens), tokenizer.encode(val.utf8, data.val_path)};
  for (const auto* split : {&corpus.train, &corpus.val})
    if (static_cast<std::int64_t>(split->size()) < config.model.block_size + 1)
      throw DataError(cat(split == &corpus.train ? data.path : data.val_path, ": ", split->size(),
                          " symbols are too few; give at least model.block_size + 1 = ",
                          config.model.block_size + 1));
  return {tokenizer, std::move(corpus), text.sha256 + val.sha256, std::max(bytes, val.utf8.size())};
}

}  // namespace moe
