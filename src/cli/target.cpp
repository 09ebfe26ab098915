#include "cli/target.h"

#include "cli/options.h"
#include "moe/base/text.h"
#include "moe/train/material.h"

namespace moe::cli {

namespace {

/// Warns where these are neither the text nor the validation text whose sums the checkpoint keeps.
void warn_of_another(const std::string& name, const DataSums& now, const CheckpointInfo& info,
                     Log& log) {
  std::string sums;
  for (const auto* key : {"data_sha256", "text_sha256"})
    if (const auto learned = info.state.value(key, Json()); learned.is_string())
      sums += learned.get<std::string>();
  // Line ends and a mark make another file, not another text.
  const auto is_known = [&](const std::string& sum) { return sums.find(sum) != sums.npos; };
  if (!sums.empty() && !is_known(now.files) && !is_known(now.texts))
    log.warn(cat(name, ": is not the text that this run was trained on (sha256 differs)"));
}

/// The tokens of all of a key's texts; of the run's `own` it is told where they are others.
HeldTokens all_tokens(const TextNames& names, bool own, const CheckpointInfo& info, Log& log) {
  auto text = read_text_of(names, "--data FILE", log);
  const auto name = text.name;
  auto out = encode_text(std::move(text), info.tokenizer, ErrorKind::data, log, nullptr);
  if (own) warn_of_another(name, out.sums, info, log);
  return out.tokens;
}

HeldTokens split_tokens(const std::string& split, const TextNames& names, bool own,
                        const CheckpointInfo& info, Log& log) {
  RunTexts texts{read_text_of(names, "--data FILE", log), {}};
  const auto name = texts.text.name;
  auto config = info.config;
  config.model.block_size = 1;  // a split as short as can be evaluated
  auto material = make_material(std::move(texts), info.tokenizer, {config, log});
  if (own) warn_of_another(name, material.sums, info, log);
  return split == "train" ? material.corpus.train : material.corpus.val;
}

HeldTokens tokens_of(const std::string& split, const TextNames& names, bool own,
                     const CheckpointInfo& info, Log& log) {
  const auto& val = info.config.data.val_path;
  const bool own_val = own && !val.empty();
  if (split != "all" && !own_val) return split_tokens(split, names, own, info, log);
  auto tokens = all_tokens(names, own, info, log);
  if (split != "all" || !own_val) return tokens;
  auto both = TokenView(tokens).copy();  // both texts belong to it, end to end
  const auto more = all_tokens(val, own, info, log);
  TokenView(more).append(0, more.size(), both);
  return both;
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
  const auto path = args.data.empty() ? data.path : TextNames(args.data);
  const bool own_val = args.data.empty() && !data.val_path.empty();
  const auto& names = own_val && split == "val" ? data.val_path : path;
  const auto file = names.shown();
  if (names.empty())
    throw DataError(
        cat(info.ref.folder.string(), ": its run names no text of its own; give --data FILE"));
  auto tokens = tokens_of(split, names, args.data.empty(), info, log);
  if (tokens.size() < 2)
    throw DataError(
        cat(file, ": ", tokens.size(), " symbols are too few to evaluate; give at least 2"));
  const auto bytes = bytes_per_target(info.tokenizer, tokens);
  return {split, std::move(tokens), bytes};
}

}  // namespace moe::cli
