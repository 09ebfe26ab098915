#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "cli/options.h"
#include "cli/output.h"
#include "moe/base/text.h"
#include "moe/cli/app.h"
#include "moe/data/bpe_training.h"
#include "moe/data/corpus.h"

namespace moe::cli {

namespace {

constexpr std::int64_t kLargestVocabulary = std::int64_t{1} << 24;  // of a vocabulary
constexpr std::size_t kMostLongest = 10;                            // tokens that info shows

struct TokenizerArgs {
  std::vector<std::string> texts;  // files, or "-"
  std::string input;               // of encode and decode, likewise
  std::string tokenizer, out;
  BpeRequest request;
  std::int64_t threads = 0;  // 0: those of the machine
  bool specials = false, json = false;
};

SpecialText specials_of(const TokenizerArgs& args) {
  return args.specials ? SpecialText::token : SpecialText::ordinary;
}

std::string name_of(const std::string& input) { return input == "-" ? "standard input" : input; }

std::string bytes_of(const std::string& input) {
  constexpr auto kMost = std::uint64_t{8} << 30U;  // as read_file
  if (input != "-") return read_file(input, ErrorKind::data);
  return read_descriptor(STDIN_FILENO, name_of(input), ErrorKind::data, kMost);
}

/// A text as training would read it.
std::string text_of(const std::string& input, Log& log) {
  auto text = clean_text(bytes_of(input), name_of(input));
  for (const auto& notice : text.notices) log.warn(cat(name_of(input), ": ", notice));
  return std::move(text.utf8);
}

int run_train(const TokenizerArgs& args, const Services& services) {
  ChunkCounts counts;
  std::size_t bytes = 0;
  for (const auto& input : args.texts) {
    const auto text = text_of(input, services.log);
    counts.add_texts(documents_of(text), name_of(input), machine_threads(args.threads));
    bytes += text.size();
  }
  if (counts.size() == 0)
    throw DataError(cat(name_of(args.texts.front()), ": is empty; name a text to learn from"));
  const BpeTokenizer tokenizer(train_bpe(counts, args.request));
  const auto text = json_text(tokenizer.to_json(), 2);
  const std::string_view pieces[]{text};
  write_result(args.out, pieces, services.files);
  if (tokenizer.vocab_size() < args.request.vocab_size)
    services.log.warn(cat("the text has pairs for ", tokenizer.vocab_size(), " tokens alone, not ",
                          args.request.vocab_size));
  services.log.info(cat(args.out, ": ", grouped(tokenizer.vocab_size()), " tokens, from ",
                        grouped(static_cast<std::int64_t>(bytes)), " bytes of text with ",
                        grouped(static_cast<std::int64_t>(counts.size())), " distinct words"));
  return 0;
}

int run_encode(const TokenizerArgs& args, const Services& services) {
  const auto tokenizer = read_tokenizer(args.tokenizer, ErrorKind::data);
  const auto ids =
      tokenizer.encode(text_of(args.input, services.log), name_of(args.input),
                       {.specials = specials_of(args), .threads = machine_threads(args.threads)});
  std::string line;
  for (const auto id : ids) {
    if (!line.empty()) line += ' ';
    line += std::to_string(id);
  }
  print(line + "\n");
  return 0;
}

/// Whole numbers with white space between them, each below `vocab`.
std::vector<std::int32_t> read_ids(std::string_view text, const std::string& where,
                                   std::int64_t vocab) {
  constexpr std::string_view kSpace = " \t\r\n";
  std::vector<std::int32_t> ids;
  for (std::size_t at = 0; (at = text.find_first_not_of(kSpace, at)) != std::string_view::npos;) {
    const auto word = text.substr(at, text.find_first_of(kSpace, at) - at);
    std::int32_t id = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || end != word.data() + word.size() || id < 0 || id >= vocab)
      throw DataError(cat(where, ": \"", printable(word, 40), "\" (the ", ids.size() + 1,
                          ". of its words) is no id of this tokenizer; give ids from 0 to ",
                          vocab - 1));
    ids.push_back(id);
    at += word.size();
  }
  return ids;
}

int run_decode(const TokenizerArgs& args) {
  const auto tokenizer = read_tokenizer(args.tokenizer, ErrorKind::data);
  const auto ids = read_ids(bytes_of(args.input), name_of(args.input), tokenizer.vocab_size());
  print(tokenizer.decode(ids, specials_of(args)));
  return 0;
}

/// Ids of the tokens with most bytes, the longest first; of equal ones the lowest.
std::vector<std::int32_t> longest_tokens(const Tokenizer& tokenizer) {
  std::vector<std::int32_t> ids;
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id)
    if (!tokenizer.is_special(id)) ids.push_back(id);
  const auto size = [&](std::int32_t id) { return tokenizer.symbol(id).size(); };
  std::ranges::stable_sort(ids, std::ranges::greater(), size);
  ids.resize(std::min(ids.size(), kMostLongest));
  return ids;
}

/// What a text becomes.
struct Compression {
  std::string text;  // its name
  std::int64_t bytes, tokens;
  double bytes_per_token() const {
    return static_cast<double>(bytes) / static_cast<double>(tokens);
  }
};

std::vector<Compression> compressions(const Tokenizer& tokenizer, const TokenizerArgs& args,
                                      Log& log) {
  std::vector<Compression> out;
  for (const auto& input : args.texts) {
    const auto text = text_of(input, log);
    const auto ids =
        tokenizer.encode(text, name_of(input), {.threads = machine_threads(args.threads)});
    if (ids.empty()) throw DataError(cat(name_of(input), ": is empty; name a text with words"));
    out.push_back({name_of(input), static_cast<std::int64_t>(text.size()),
                   static_cast<std::int64_t>(ids.size())});
  }
  return out;
}

std::string shown_symbol(const Tokenizer& tokenizer, std::int32_t id) {
  return cat("\"", printable(tokenizer.symbol(id), 60), "\"");
}

int run_info(const TokenizerArgs& args, const Services& services) {
  const auto tokenizer = read_tokenizer(args.tokenizer, ErrorKind::data);
  const auto texts = compressions(tokenizer, args, services.log);
  const std::string kind = tokenizer.kind() == TokenizerKind::bpe ? "bpe" : "char";
  std::vector<std::string> specials, longest;
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id)
    if (tokenizer.is_special(id)) specials.push_back(tokenizer.symbol(id));
  for (const auto id : longest_tokens(tokenizer)) longest.push_back(shown_symbol(tokenizer, id));
  if (args.json) {
    auto list = Json::array();
    for (const auto& text : texts)
      list.push_back({{"text", text.text},
                      {"bytes", text.bytes},
                      {"tokens", text.tokens},
                      {"bytes_per_token", text.bytes_per_token()}});
    print_json({{"kind", kind},
                {"vocab_size", tokenizer.vocab_size()},
                {"specials", specials},
                {"longest", longest},
                {"texts", list}});
    return 0;
  }
  print(cat("kind        ", kind, "\nvocabulary  ", grouped(tokenizer.vocab_size()),
            " tokens\nspecial     ", specials.empty() ? "none" : join(specials, " "),
            "\nlongest     ", join(longest, " "), "\n"));
  for (const auto& text : texts)
    print(cat(text.text, ": ", grouped(text.bytes), " bytes, ", grouped(text.tokens), " tokens, ",
              fixed(text.bytes_per_token(), 3), " bytes a token\n"));
  return 0;
}

CLI::App* add_train_command(CLI::App& command, TokenizerArgs& args) {
  auto* train = command.add_subcommand("train", "Learn a byte-level BPE vocabulary from texts");
  train->add_option("texts", args.texts, "UTF-8 texts, or - for standard input")->required();
  add_whole<std::int64_t>(*train, "--vocab-size", args.request.vocab_size,
                          "tokens, with the 256 bytes and <|endoftext|>; default: 4096", 257,
                          kLargestVocabulary);
  add_whole<std::int64_t>(*train, "--min-frequency", args.request.min_frequency,
                          "how often a pair must stand in the texts to become a token; default: 0",
                          0, std::int64_t{1} << 40);
  add_name(*train, "--out", args.out, "tokenizer.json to write, or - for standard output")
      ->required();
  add_threads(*train, args.threads);
  train->footer("Example:\n  makemoe tokenizer train TEXT.txt --vocab-size 4096 --out words.json");
  return train;
}

CLI::App* add_ids_command(CLI::App& command, TokenizerArgs& args, const char* name,
                          const char* help, const char* input, const char* specials) {
  auto* added = command.add_subcommand(name, help);
  add_name(*added, "input", args.input, input)->required();
  add_name(*added, "--tokenizer", args.tokenizer, "tokenizer.json or tiktoken file")->required();
  added->add_flag("--special", args.specials, specials);
  return added;
}

}  // namespace

void add_tokenizer(CLI::App& app, Run& run) {
  auto* command = app.add_subcommand("tokenizer", "Train, use and look at tokenizers");
  command->require_subcommand(1);
  const auto args = std::make_shared<TokenizerArgs>();
  const auto runs = [args, &run](CLI::App* chosen, auto work) {
    chosen->callback([args, &run, work] {
      run = [args, work](const Services& services) { return work(*args, services); };
    });
  };
  runs(add_train_command(*command, *args), run_train);
  auto* encode = add_ids_command(*command, *args, "encode", "Print the ids of a text",
                                 "UTF-8 text, or - for standard input",
                                 "<|endoftext|> in the text is the token, not letters");
  add_threads(*encode, args->threads);
  encode->footer(
      "Example:\n  echo First Citizen | makemoe tokenizer encode - --tokenizer words.json");
  runs(encode, run_encode);
  auto* decode = add_ids_command(*command, *args, "decode", "Print the text of ids",
                                 "ids with spaces between them, or - for standard input",
                                 "print special tokens too");
  decode->footer("Example:\n  echo 72 101 | makemoe tokenizer decode - --tokenizer words.json");
  runs(decode, [](const TokenizerArgs& given, const Services&) { return run_decode(given); });
  auto* info =
      command->add_subcommand("info", "Say what is in a tokenizer, and what it makes of texts");
  add_name(*info, "tokenizer", args->tokenizer, "tokenizer.json or tiktoken file")->required();
  info->add_option("texts", args->texts, "texts to tell the bytes a token of");
  info->add_flag("--json", args->json, "print one JSON object instead of text");
  add_threads(*info, args->threads);
  info->footer("Example:\n  makemoe tokenizer info words.json TEXT.txt");
  runs(info, run_info);
  command->footer(
      "Examples:\n  makemoe tokenizer train TEXT.txt --vocab-size 4096 --out words.json\n"
      "  makemoe tokenizer info words.json TEXT.txt");
}

}  // namespace moe::cli
