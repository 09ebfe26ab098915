#include "cli/import_folder.h"

#include <optional>

#include "cli/imported_run.h"
#include "moe/base/text.h"
#include "moe/config/load.h"
#include "moe/config/spec_of.h"
#include "moe/exchange/hf_config.h"
#include "moe/exchange/hf_weights.h"
#include "moe/model/build.h"
#include "moe/store/ngrams.h"

namespace moe::cli {

namespace {

Tokenizer tokenizer_of(const fs::path& folder, const std::string& vocab, const FolderModel& found) {
  const auto path = vocab.empty() ? (folder / "tokenizer.json").string() : vocab;
  auto tokenizer = read_tokenizer(path, ErrorKind::data);
  if (tokenizer.vocab_size() != found.vocab)
    throw CheckpointError(cat(path, ": has ", tokenizer.vocab_size(), " symbols, and config.json ",
                              found.vocab, "; name the tokenizer of these weights with --vocab"));
  return tokenizer;
}

/// A run has a tokenizer of its own; its config says of which kind.
void name_tokenizer(const Tokenizer& tokenizer, DataConfig& data) {
  data.tokenizer = tokenizer.bpe() != nullptr ? "bpe" : "char";
  if (tokenizer.bpe() != nullptr) data.vocab_size = tokenizer.vocab_size();
}

/// Tables lie under one name each, in whichever file.
std::vector<NgramKeys> ngrams_of_folder(const FolderWeights& weights, const FolderModel& found,
                                        const fs::path& folder) {
  std::vector<NgramKeys> out;
  for (const auto order : found.model.ngram.orders) {
    const auto name = ngram_keys_name(order);
    if (!weights.has(name))
      throw CheckpointError(
          cat(folder.string(), ": \"", name, "\" is missing; get the folder again, whole"));
    auto one = found.model.ngram;
    one.orders = {order};
    out.push_back(read_ngram_keys(weights.file_of(name), one, found.vocab).front());
  }
  return out;
}

/// Before anything is allocated: a config that asks for far more than the files hold is not theirs.
void require_weights_for(const FolderModel& found, const Vocabulary& vocabulary,
                         const FolderWeights& weights, const fs::path& folder) {
  constexpr double kFar = 16;
  const auto wanted = count_parameters(found.model, vocabulary);
  if (static_cast<double>(wanted) * sizeof(float) > kFar * static_cast<double>(weights.bytes()))
    throw CheckpointError(
        cat(folder.string(), ": its files hold far fewer values than the ", grouped(wanted),
            " parameters that config.json asks for; get the folder again, whole"));
}

std::vector<ForeignTensor> tensors_of(const ModelSpec& spec, const FolderModel& found) {
  if (found.is_own) return published_tensors(spec);
  const auto twin = *find_twin(spec, Reader::transformers).twin;  // it was read as one
  const KeyValueHeads all{spec.layers.front().attention.heads};
  return folder_tensors(spec, twin, KeyValueHeads{found.key_value_heads.value_or(all.count)});
}

}  // namespace

void import_folder(const FolderImport& from, const std::string& out, const Services& services) {
  const fs::path folder(from.folder);
  const auto where = (folder / "config.json").string();
  const auto found = read_folder_config(read_json(where, ErrorKind::checkpoint), where);
  for (const auto& notice : found.notices) services.log.warn(notice);
  auto config = from.config.empty() ? RunConfig() : load_config(fs::path(from.config), {});
  const auto kernels = config.model.kernels;
  config.model = found.model;
  config.model.kernels = kernels;
  const auto tokenizer = tokenizer_of(folder, from.vocab, found);
  name_tokenizer(tokenizer, config.data);
  const FolderWeights weights(folder);
  const Vocabulary vocabulary(found.vocab, ngrams_of_folder(weights, found, folder));
  require_weights_for(found, vocabulary, weights, folder);
  const auto spec = spec_of(config.model, vocabulary);
  const auto tensors = tensors_of(spec, found);
  require_tensors(weights, tensors, spec.tied, folder.string());
  const auto fill = [&](FlatParameters& flat) {
    read_weights(weights, tensors, spec.tied, from.values == WeightValues::any, folder.string(),
                 places_of(flat));
  };
  make_imported_run({config, vocabulary, tokenizer, {}, fill}, out, services);
}

}  // namespace moe::cli
