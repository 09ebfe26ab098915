#include <algorithm>
#include <optional>
#include <unordered_map>

#include "moe/base/text.h"
#include "moe/data/bpe_tokenizer.h"
#include "moe/data/byte_alphabet.h"

namespace moe {

namespace {

constexpr std::string_view kDamaged = "; the file is damaged or of something else: get it anew";
constexpr std::string_view kOnly =
    "; makemoe does byte-level BPE as GPT-2 does it and nothing else: use a tokenizer of that kind";

/// Reads one file: every complaint begins with the file and is of the caller's kind.
class Reader {
 public:
  Reader(std::string_view where, ErrorKind kind) : where_(where), kind_(kind) {}
  BpeVocabulary read(const Json& root);

 private:
  [[noreturn]] void refuse(const std::string& what, std::string_view remedy = kDamaged) const {
    throw_error(kind_, cat(where_, ": ", what, remedy));
  }
  void check_pipeline(const Json& root) const;
  void check_splitter(const Json& splitter) const;
  void check_model(const Json& model) const;
  bool flag(const Json& object, const char* key, std::string_view owner, bool otherwise) const;
  std::size_t id_of(const Json& value, std::string_view text) const;
  void add_token(const std::string& text, std::size_t id);
  void read_vocab(const Json& model);
  void read_added(const Json& root);
  void read_added_token(const Json& added);
  void place_tokens();
  std::pair<std::string, std::string> parts_of(const Json& merge, std::size_t rank) const;
  std::int32_t known(const std::string& text, std::size_t rank) const;
  void read_merges(const Json& model);

  std::string_view where_;
  ErrorKind kind_;
  BpeVocabulary vocabulary_;
  std::vector<std::pair<std::string, std::size_t>> tokens_;  // as written, and its id
  std::unordered_map<std::string, std::size_t> ids_;
  std::unordered_map<std::string, std::size_t> specials_;
};

/// The value under `key`, nullptr where there is none or null.
const Json* find(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

/// "NFC" of {"type": "NFC"}, else the value itself: what a complaint calls it.
std::string type_of(const Json& value) {
  const auto* type = value.is_object() ? find(value, "type") : nullptr;
  return type != nullptr && type->is_string() ? cat("\"", printable(type->get<std::string>()), "\"")
                                              : shown(value);
}

bool is_type(const Json& value, std::string_view name) {
  const auto* type = value.is_object() ? find(value, "type") : nullptr;
  return type != nullptr && type->is_string() && type->get_ref<const std::string&>() == name;
}

/// A template that puts nothing before or behind a text, as transformers 5 writes it.
bool is_bare_template(const Json& value) {
  const auto* single = is_type(value, "TemplateProcessing") ? find(value, "single") : nullptr;
  return single != nullptr && single->is_array() && single->size() == 1 &&
         single->front().is_object() && single->front().size() == 1 &&
         single->front().contains("Sequence");
}

bool Reader::flag(const Json& object, const char* key, std::string_view owner,
                  bool otherwise) const {
  const auto* value = find(object, key);
  if (value == nullptr) return otherwise;
  if (!value->is_boolean())
    refuse(cat(owner, ".", key, " is ", shown(*value), ", neither true nor false"));
  return value->get<bool>();
}

void Reader::check_splitter(const Json& splitter) const {
  if (is_type(splitter, "Sequence")) {
    const auto* steps = find(splitter, "pretokenizers");
    if (steps != nullptr && steps->is_array() && steps->size() == 1 &&
        !is_type(steps->front(), "Sequence"))
      return check_splitter(steps->front());
  }
  if (!is_type(splitter, "ByteLevel"))
    refuse(cat("pre_tokenizer is ", type_of(splitter), ", not \"ByteLevel\" alone"), kOnly);
  // What Hugging Face takes where a key is missing.
  if (flag(splitter, "add_prefix_space", "pre_tokenizer", true))
    refuse("pre_tokenizer.add_prefix_space is true: texts would get a space before them", kOnly);
  if (!flag(splitter, "use_regex", "pre_tokenizer", true))
    refuse("pre_tokenizer.use_regex is false: texts would not be split", kOnly);
}

void Reader::check_pipeline(const Json& root) const {
  for (const auto* key : {"normalizer", "truncation", "padding"})
    if (const auto* value = find(root, key))
      refuse(cat(key, " is ", type_of(*value), ", not null"), kOnly);
  const auto* splitter = find(root, "pre_tokenizer");
  if (splitter == nullptr) refuse("pre_tokenizer is missing, not \"ByteLevel\"", kOnly);
  check_splitter(*splitter);
  if (const auto* after = find(root, "post_processor");
      after != nullptr && !is_type(*after, "ByteLevel") && !is_bare_template(*after))
    refuse(cat("post_processor is ", type_of(*after), ", neither null nor \"ByteLevel\""), kOnly);
  const auto* decoder = find(root, "decoder");
  if (decoder == nullptr || !is_type(*decoder, "ByteLevel"))
    refuse(cat("decoder is ", decoder == nullptr ? "missing" : type_of(*decoder),
               ", not \"ByteLevel\""),
           kOnly);
}

void Reader::check_model(const Json& model) const {
  if (!model.is_object()) refuse(cat("model is ", shown(model), ", no object"));
  if (find(model, "type") != nullptr && !is_type(model, "BPE"))
    refuse(cat("model.type is ", type_of(model), ", not \"BPE\""), kOnly);
  const auto* dropout = find(model, "dropout");
  if (dropout != nullptr && (!dropout->is_number() || dropout->get<double>() != 0))
    refuse(cat("model.dropout is ", shown(*dropout), ", not null"), kOnly);
  if (const auto* unknown = find(model, "unk_token"))
    refuse(cat("model.unk_token is ", shown(*unknown), ", not null"), kOnly);
  for (const auto* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const auto* value = find(model, key);
    if (value != nullptr && !(value->is_string() && value->get_ref<const std::string&>().empty()))
      refuse(cat("model.", key, " is ", shown(*value), ", not null"), kOnly);
  }
  if (flag(model, "byte_fallback", "model", false)) refuse("model.byte_fallback is true", kOnly);
  (void)flag(model, "fuse_unk", "model", false);  // about unknown symbols, of which bytes have none
}

std::size_t Reader::id_of(const Json& value, std::string_view text) const {
  const bool is_id =
      value.is_number_unsigned() || (value.is_number_integer() && value.get<std::int64_t>() >= 0);
  if (!is_id || value.get<std::uint64_t>() > INT32_MAX)
    refuse(cat("the token \"", printable(text), "\" has id ", shown(value), ", which is none"));
  return value.get<std::size_t>();
}

void Reader::add_token(const std::string& text, std::size_t id) {
  tokens_.emplace_back(text, id);
  ids_.emplace(text, id);
}

void Reader::read_vocab(const Json& model) {
  const auto* vocab = find(model, "vocab");
  if (vocab == nullptr || !vocab->is_object())
    refuse(cat("model.vocab is ", vocab == nullptr ? "missing" : shown(*vocab), ", no object"));
  for (const auto& [text, id] : vocab->items()) add_token(text, id_of(id, text));
}

void Reader::read_added_token(const Json& added) {
  const auto* content = added.is_object() ? find(added, "content") : nullptr;
  if (content == nullptr || !content->is_string() || !added.contains("id"))
    refuse(cat("added_tokens: ", shown(added), " has no content or no id"));
  const auto text = content->get<std::string>();
  const auto name = cat("added_tokens: \"", printable(text), "\"");
  const auto id = id_of(added.at("id"), text);
  if (!flag(added, "special", name, false)) refuse(name + " is not special", kOnly);
  for (const auto* key : {"single_word", "lstrip", "rstrip"})
    if (flag(added, key, name, false)) refuse(cat(name, " has ", key, " true"), kOnly);
  (void)flag(added, "normalized", name, false);  // there is no normalizer
  if (!specials_.emplace(text, id).second) refuse(name + " stands there twice");
  const auto in_vocab = ids_.find(text);
  if (in_vocab == ids_.end())
    add_token(text, id);
  else if (in_vocab->second != id)
    refuse(cat(name, " has id ", id, ", and ", in_vocab->second, " in model.vocab"));
}

void Reader::read_added(const Json& root) {
  const auto* added = find(root, "added_tokens");
  if (added == nullptr) return;
  if (!added->is_array()) refuse(cat("added_tokens is ", shown(*added), ", no array"));
  for (const auto& token : *added) read_added_token(token);
}

/// Ids as places: each once, without gaps.
void Reader::place_tokens() {
  auto& tokens = vocabulary_.tokens;
  tokens.resize(tokens_.size());
  std::vector<const std::string*> owners(tokens_.size(), nullptr);
  for (const auto& [text, id] : tokens_) {
    if (id >= owners.size())
      refuse(cat("the token \"", printable(text), "\" has id ", id, ", but there are only ",
                 owners.size(), " tokens: ids have gaps"));
    if (owners[id] != nullptr)
      refuse(cat("the id ", id, " is of \"", printable(*owners[id]), "\" and of \"",
                 printable(text), "\""));
    owners[id] = &text;
    if (specials_.contains(text)) {
      tokens[id] = text;
      continue;
    }
    auto bytes = bytes_of(text);
    if (!bytes)
      refuse(cat("the token \"", printable(text), "\" has characters that stand for no byte"));
    tokens[id] = std::move(*bytes);
  }
  for (const auto& [text, id] : specials_)
    vocabulary_.specials.push_back(static_cast<std::int32_t>(id));
  std::ranges::sort(vocabulary_.specials);
}

std::pair<std::string, std::string> Reader::parts_of(const Json& merge, std::size_t rank) const {
  if (merge.is_string()) {
    const auto& text = merge.get_ref<const std::string&>();
    const auto space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos)
      return {text.substr(0, space), text.substr(space + 1)};
  }
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string())
    return {merge[0].get<std::string>(), merge[1].get<std::string>()};
  refuse(cat("merge ", rank, " is ", shown(merge), ", not two tokens"));
}

std::int32_t Reader::known(const std::string& text, std::size_t rank) const {
  const auto found = ids_.find(text);
  if (found == ids_.end())
    refuse(cat("merge ", rank, ": \"", printable(text), "\" is no token of model.vocab"));
  return static_cast<std::int32_t>(found->second);
}

void Reader::read_merges(const Json& model) {
  const auto* merges = find(model, "merges");
  if (merges == nullptr || !merges->is_array())
    refuse(cat("model.merges is ", merges == nullptr ? "missing" : shown(*merges), ", no array"));
  for (std::size_t rank = 0; rank < merges->size(); ++rank) {
    const auto [left, right] = parts_of((*merges)[rank], rank);
    vocabulary_.merges.push_back(
        {known(left, rank), known(right, rank), known(left + right, rank)});
  }
}

BpeVocabulary Reader::read(const Json& root) {
  const auto* model = root.is_object() ? find(root, "model") : nullptr;
  if (model == nullptr) refuse("has no model");
  check_model(*model);
  check_pipeline(root);
  vocabulary_.whole_chunks = flag(*model, "ignore_merges", "model", false);
  read_vocab(*model);
  read_added(root);
  place_tokens();
  read_merges(*model);
  if (const auto problem = bpe_problem(vocabulary_); !problem.empty()) refuse(problem);
  return std::move(vocabulary_);
}

Json byte_level(bool add_prefix_space) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", add_prefix_space},
          {"trim_offsets", true},
          {"use_regex", true}};
}

/// ordered_json looks for each new key among all earlier ones; its vector does not.
void add_key(Json& object, std::string key, Json value) {
  std::vector<Json::object_t::value_type>& members = object.get_ref<Json::object_t&>();
  members.emplace_back(std::move(key), std::move(value));
}

}  // namespace

BpeTokenizer BpeTokenizer::from_json(const Json& json, std::string_view where, ErrorKind kind) {
  return BpeTokenizer(Reader(where, kind).read(json));
}

Json BpeTokenizer::to_json() const {
  const auto written = [&](std::int32_t id) {
    return is_special(id) ? bytes(id) : characters_of(bytes(id));
  };
  Json added = Json::array(), vocab = Json::object(), merges = Json::array();
  for (const auto id : vocabulary().specials)
    added.push_back({{"id", id},
                     {"content", bytes(id)},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  for (std::int32_t id = 0; id < vocab_size(); ++id) add_key(vocab, written(id), id);
  for (const auto& merge : vocabulary().merges)
    merges.push_back(Json::array({written(merge.left), written(merge.right)}));
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", std::move(added)},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level(false)},
          {"post_processor", nullptr},
          {"decoder", byte_level(true)},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"continuing_subword_prefix", nullptr},
            {"end_of_word_suffix", nullptr},
            {"fuse_unk", false},
            {"byte_fallback", false},
            {"ignore_merges", vocabulary().whole_chunks},
            {"vocab", std::move(vocab)},
            {"merges", std::move(merges)}}}};
}

}  // namespace moe
