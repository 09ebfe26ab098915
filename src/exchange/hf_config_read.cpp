#include <algorithm>
#include <array>

#include "exchange/config_fields.h"
#include "exchange/hf_config_keys.h"
#include "exchange/spec_json.h"
#include "moe/base/text.h"
#include "moe/config/load.h"
#include "moe/config/spec_of.h"
#include "moe/exchange/hf_config.h"

namespace moe {

namespace {

constexpr std::array kArchitectures{
    Architecture::llama,     Architecture::qwen3,       Architecture::mixtral,
    Architecture::qwen3_moe, Architecture::granite_moe, Architecture::granite_moe_shared,
    Architecture::qwen2_moe, Architecture::glm4_moe,    Architecture::dots1};

[[noreturn]] void refuse_config(std::string_view where, const std::string& what) {
  throw CheckpointError(cat(where, ": ", what, "; give the folder of a model that we have"));
}

std::optional<Architecture> architecture_of(std::string_view model_type) {
  const auto found = std::ranges::find_if(
      kArchitectures, [&](Architecture one) { return names_of(one).model_type == model_type; });
  return found != kArchitectures.end() ? std::optional(*found) : std::nullopt;
}

Json model_json(const ModelConfig& model) {
  RunConfig config;
  config.model = model;
  return config_to_json(config)["model"];
}

/// All rules of ours, as problems of a file.
void require_sound(const ModelConfig& model, std::string_view where) {
  RunConfig config;
  config.model = model;
  try {
    // Bounds are checked where keys are read.
    const auto read = config_from_json(config_to_json(config), where);
    if (const auto problems = config_problems(read); !problems.empty())
      refuse_config(where, cat("means a model that cannot be: ", join(problems, "; ")));
  } catch (const ConfigError& error) {
    throw CheckpointError(error.what());
  }
}

/// The model section that we wrote beside what transformers reads; nullopt where there is none.
std::optional<ModelConfig> section_of(const Json& json, std::string_view where) {
  if (!json.contains(kOwnModelType)) return {};
  const auto& section = json.at(kOwnModelType);
  const auto place = cat(where, ": ", kOwnModelType);
  if (!section.is_object() || !section.contains("model") || section.size() != 1)
    refuse_config(place, "is no object with \"model\" alone");
  try {
    auto model = config_from_json(section, place).model;
    require_sound(model, place);
    return model;
  } catch (const ConfigError& error) {
    throw CheckpointError(error.what());
  }
}

FolderModel read_own(const Json& json, std::string_view where) {
  FolderModel out;
  out.is_own = true;
  const auto section = section_of(json, where);
  if (!section) refuse_config(where, cat("has no section \"", kOwnModelType, "\""));
  ConfigFields fields(json);
  out.vocab = fields.count("vocab_size", 1);
  if (!fields.problems().empty()) refuse_config(where, join(fields.problems(), "; "));
  out.model = *section;
  return out;
}

/// What the section's model looks like from outside: as reading its config.json would have it.
ModelConfig seen_from_outside(const ModelConfig& model, std::int64_t vocab) {
  const auto spec = spec_of(model, vocab);
  const auto answer = find_twin(spec, Reader::transformers);
  if (!answer.twin) return model;
  const auto json = twin_config(model, spec, *answer.twin, {"float32", {}});
  return read_folder_keys(json, answer.twin->architecture).model.model;
}

/// Takes the section in the place of what was read, if both say the same.
void prefer_section(const Json& json, std::string_view where, FolderModel& out) {
  const auto section = section_of(json, where);
  if (!section) return;
  if (model_json(seen_from_outside(*section, out.vocab)) == model_json(out.model))
    out.model = *section;
  else
    out.notices.push_back(cat(where, ": its section \"", kOwnModelType,
                              "\" says otherwise than its other keys, which are taken"));
}

FolderModel read_twin(const Json& json, Architecture architecture, std::string_view where) {
  auto [out, problems, unread] = read_folder_keys(json, architecture);
  if (!problems.empty()) refuse_config(where, join(problems, "; "));
  require_sound(out.model, where);
  if (!unread.empty())
    out.notices.push_back(
        cat(where, ": keys that are unknown here were passed over: ", join(unread, ", ")));
  prefer_section(json, where, out);
  return out;
}

}  // namespace

FolderModel read_folder_config(const Json& json, std::string_view where) {
  if (!json.is_object()) refuse_config(where, "is no JSON object");
  const auto type = json.value("model_type", Json());
  if (!type.is_string()) refuse_config(where, "has no \"model_type\"");
  const auto& name = type.get_ref<const std::string&>();
  if (name == kOwnModelType) return read_own(json, where);
  const auto architecture = architecture_of(name);
  if (!architecture)
    refuse_config(where, cat("\"model_type\" \"", printable(name, 60), "\" is none that we have"));
  return read_twin(json, *architecture, where);
}

}  // namespace moe
