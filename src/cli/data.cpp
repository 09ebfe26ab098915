#include <algorithm>

#include "cli/options.h"
#include "cli/output.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/cli/app.h"
#include "moe/data/prepare.h"
#include "moe/data/sources.h"

namespace moe::cli {

namespace {

struct DataArgs {
  std::vector<std::string> texts;
  std::string tokenizer, out, file;
  std::int64_t threads = 0;  // 0: those of the machine
  bool json = false;
};

std::uint64_t bytes_of_sources(const TokenFileInfo& info) {
  std::uint64_t bytes = 0;
  for (const auto& source : info.sources) bytes += source.bytes;
  return bytes;
}

Json summary_of(const std::string& file, const TokenFileInfo& info) {
  return {{"file", file},
          {"tokens", info.count},
          {"bytes_per_id", id_width(info.vocab_size)},
          {"vocab_size", info.vocab_size},
          {"texts", info.sources.size()},
          {"text_bytes", bytes_of_sources(info)}};
}

std::string summary_text(const std::string& file, const TokenFileInfo& info) {
  const auto bytes = static_cast<double>(bytes_of_sources(info));
  return cat(file, ": ", grouped(static_cast<long long>(info.count)), " tokens from ",
             human_bytes(bytes), " of text in ", info.sources.size(),
             info.sources.size() == 1 ? " file" : " files",
             info.count == 0
                 ? ""
                 : cat(", ", fixed(bytes / static_cast<double>(info.count), 3), " bytes a token"));
}

/// Refuses to write over what is read.
void require_new_file(const DataArgs& args, const std::vector<fs::path>& sources) {
  if (args.out == "-") throw ConfigError("--out: standard output cannot be mapped; name a file");
  std::error_code ignored;  // what is not there is no source
  const auto refuse_same = [&](const fs::path& path, std::string_view what) {
    if (fs::equivalent(args.out, path, ignored))
      throw ConfigError(cat("--out: ", args.out, " is ", what, "; name another file"));
  };
  for (const auto& source : sources) refuse_same(source, "a text that is read");
  refuse_same(args.tokenizer, "the tokenizer");
}

int run_prepare(const DataArgs& args, const Services& services) {
  const auto begin = monotonic_seconds();
  const auto tokenizer = read_tokenizer(args.tokenizer, ErrorKind::data);
  PrepareRequest request{find_sources(args.texts), &tokenizer, machine_threads(args.threads)};
  require_new_file(args, request.sources);
  const auto info = prepare_tokens(request, args.out, services.files, services.log);
  if (args.json) {
    auto summary = summary_of(args.out, info);
    summary["seconds"] = monotonic_seconds() - begin;
    print_json(summary);
  } else {
    services.log.info(summary_text(args.out, info));
  }
  return 0;
}

int run_data_info(const DataArgs& args) {
  const auto info = TokenFile::open(args.file).info();
  if (!args.json) {
    print(summary_text(args.file, info) + "\n");
    for (const auto& source : info.sources)
      print(cat(source.sha256, "  ", without_controls(source.path), "\n"));
    return 0;
  }
  auto summary = summary_of(args.file, info);
  summary["tokenizer_sha256"] = info.tokenizer;
  summary["sources"] = Json::array();
  for (const auto& source : info.sources)
    summary["sources"].push_back({{"path", source.path},
                                  {"bytes", source.bytes},
                                  {"sha256", source.sha256},
                                  {"text_sha256", source.text_sha256}});
  print_json(summary);
  return 0;
}

CLI::App* add_prepare(CLI::App& command, DataArgs& args) {
  auto* prepare =
      command.add_subcommand("prepare", "Make ids of texts once, in a file that training maps");
  prepare
      ->add_option("texts", args.texts,
                   "UTF-8 texts: files, folders (all *.txt below them), or patterns in quotes")
      ->required();
  add_name(*prepare, "--tokenizer", args.tokenizer, "tokenizer.json or tiktoken file")->required();
  add_name(*prepare, "--out", args.out, "token file to write")->required();
  add_threads(*prepare, args.threads);
  prepare->add_flag("--json", args.json, "print one JSON object at the end");
  prepare->footer(
      "Example:\n  makemoe data prepare TEXT.txt --tokenizer words.json --out words.tokens");
  return prepare;
}

CLI::App* add_data_info(CLI::App& command, DataArgs& args) {
  auto* info = command.add_subcommand("info", "Check a token file, and say what it was made of");
  add_name(*info, "file", args.file, "token file")->required();
  info->add_flag("--json", args.json, "print one JSON object instead of text");
  info->footer("Example:\n  makemoe data info words.tokens");
  return info;
}

}  // namespace

void add_data(CLI::App& app, Run& run) {
  auto* command = app.add_subcommand("data", "Prepare texts that are too large to be held");
  command->require_subcommand(1);
  const auto args = std::make_shared<DataArgs>();
  add_prepare(*command, *args)->callback([args, &run] {
    run = [args](const Services& services) { return run_prepare(*args, services); };
  });
  add_data_info(*command, *args)->callback([args, &run] {
    run = [args](const Services&) { return run_data_info(*args); };
  });
  command->footer(
      "Example:\n  makemoe data prepare TEXT.txt --tokenizer words.json --out words.tokens");
}

}  // namespace moe::cli
