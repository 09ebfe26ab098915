#include "cli/target.h"

#include <ATen/Parallel.h>

#include "cli/options.h"
#include "moe/base/text.h"

namespace moe::cli {

namespace {

/// Whether `text` is neither the text nor the validation text whose sums the checkpoint keeps.
bool is_another_text(const Text& text, const CheckpointInfo& info) {
  std::string sums;
  for (const auto* key : {"data_sha256", "text_sha256"})
    if (const auto learned = info.state.value(key, Json()); learned.is_string())
      sums += learned.get<std::string>();
  // Line ends and a mark make another file, not another text.
  const auto is_known = [&](const std::string& sum) { return sums.find(sum) != sums.npos; };
  return !sums.empty() && !is_known(text.sha256) && !is_known(text.text_sha256);
}

/// Warns of what was folded, and of another text than the run's `own`.
std::string read_noticed(const std::string& file, bool own, const CheckpointInfo& info, Log& log) {
  auto text = read_text(file);
  for (const auto& notice : text.notices) log.warn(cat(file, ": ", notice));
  if (own && is_another_text(text, info))
    log.warn(cat(file, ": is not the text that this run was trained on (sha256 differs)"));
  return std::move(text.utf8);
}

Tokens tokens_of(const std::string& split, const std::string& file, bool own,
                 const CheckpointInfo& info, Log& log) {
  const auto& data = info.config.data;
  const bool own_val = own && !data.val_path.empty();
  const EncodeOptions encoding{SpecialText::token, at::get_num_threads()};
  auto text = read_noticed(file, own, info, log);
  if (split != "all" && !own_val) {
    auto corpus = encode_and_split(std::move(text), info.tokenizer,
                                   {data.train_fraction, /*block_size=*/1, encoding}, file);
    return std::move(split == "train" ? corpus.train : corpus.val);
  }
  auto tokens = info.tokenizer.encode(text, file, encoding);
  if (split == "all" && own_val) {  // both texts belong to it, end to end
    const auto more =
        info.tokenizer.encode(read_noticed(data.val_path.shown(), own, info, log),
                              data.val_path.shown(), encoding);
    tokens.insert(tokens.end(), more.begin(), more.end());
  }
  return tokens;
}

}  // namespace

void add_text(CLI::App& command, TextArgs& args) {
  add_name(command, "--data", args.data, "UTF-8 text to read; default: the text of the run");
  command
      .add_option("--split", args.split, "part of the text to read; default: val, with --data all")
      ->check(CLI::IsMember({"train", "val", "all"}));
}

Target read_target(const TextArgs& args, const CheckpointInfo& info, Log& log) {
  const auto& data = info.config.data;
  const auto split = !args.split.empty() ? args.split : args.data.empty() ? "val" : "all";
  const auto path = args.data.empty() ? data.path.shown() : args.data;
  const bool own_val = args.data.empty() && !data.val_path.empty();
  const auto file = own_val && split == "val" ? data.val_path.shown() : path;
  if (file.empty())
    throw DataError(
        cat(info.ref.folder.string(), ": its run names no text of its own; give --data FILE"));
  std::error_code ignored;
  if (args.data.empty() && fs::status(file, ignored).type() == fs::file_type::not_found)
    throw DataError(cat(file, ": is not there; name the run's text with --data FILE"));
  auto tokens = tokens_of(split, file, args.data.empty(), info, log);
  if (tokens.size() < 2)
    throw DataError(
        cat(file, ": ", tokens.size(), " symbols are too few to evaluate; give at least 2"));
  const auto bytes = bytes_per_target(info.tokenizer, tokens);
  return {split, std::move(tokens), bytes};
}

}  // namespace moe::cli
