#include "cli/target.h"

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

/// Tokens of a text; warns of what was folded, and of another than the run's `own`.
Tokens read_tokens(const std::string& file, bool own, const CheckpointInfo& info, Log& log) {
  const auto text = read_text(file);
  for (const auto& notice : text.notices) log.warn(cat(file, ": ", notice));
  if (own && is_another_text(text, info))
    log.warn(cat(file, ": is not the text that this run was trained on (sha256 differs)"));
  return info.tokenizer.encode(text.utf8, file);
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
  const auto path = args.data.empty() ? data.path : args.data;
  const auto& tokenizer = info.tokenizer;
  const bool own_val = args.data.empty() && !data.val_path.empty();
  const auto file = own_val && split == "val" ? data.val_path : path;
  if (file.empty())
    throw DataError(
        cat(info.ref.folder.string(), ": its run names no text of its own; give --data FILE"));
  std::error_code ignored;
  if (args.data.empty() && fs::status(file, ignored).type() == fs::file_type::not_found)
    throw DataError(cat(file, ": is not there; name the run's text with --data FILE"));
  auto tokens = read_tokens(file, args.data.empty(), info, log);
  if (split == "all" && own_val) {  // both texts belong to it, end to end
    const auto val = read_tokens(data.val_path, /*own=*/true, info, log);
    tokens.insert(tokens.end(), val.begin(), val.end());
  }
  if (split != "all" && !own_val) {
    auto corpus = split_by_position(std::move(tokens), data.train_fraction, 1, file);
    tokens = std::move(split == "train" ? corpus.train : corpus.val);
  }
  if (tokens.size() < 2)
    throw DataError(
        cat(file, ": ", tokens.size(), " symbols are too few to evaluate; give at least 2"));
  const auto bytes = static_cast<double>(tokenizer.decode(tokens).size());
  const auto bytes_per_token = bytes / static_cast<double>(tokens.size());
  return {split, std::move(tokens), bytes_per_token};
}

}  // namespace moe::cli
