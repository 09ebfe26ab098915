#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "cli/text_table.h"
#include "cli/views.h"
#include "moe/base/text.h"

namespace moe::cli {

namespace {

constexpr int kLossDigits = 4;

std::string number(const Json& value, int digits) {
  return value.is_null() ? "-" : fixed(value.get<double>(), digits);
}
/// With its sign: a rise, a gain.
std::string change(const Json& value, int digits = kLossDigits) {
  if (value.is_null()) return "-";
  const auto text = number(value, digits);
  return text.starts_with('-') ? text : "+" + text;
}
std::string percent(const Json& value) {
  return value.is_null() ? "-" : fixed(100 * value.get<double>(), 1);
}

/// A row an expert, a column a layer; `key` names a list with a value an expert in each layer.
std::string expert_table(const Json& layers, const std::string& corner, const char* key,
                         const std::function<std::string(const Json&)>& shown) {
  auto table = table_of_layers(corner, layers.size());
  std::size_t experts = 0;
  for (const auto& layer : layers) experts = std::max(experts, layer.at(key).size());
  for (std::size_t e = 0; e < experts; ++e)
    add_row(table, cat("expert ", e), [&](auto l) {
      const auto& values = layers[l].at(key);
      return e < values.size() ? shown(values[e]) : std::string("-");
    });
  return laid_out(table);
}

/// "newline +0.0123": the class of targets whose loss rises most; `rises` has a value a class.
std::string worst_class(const Json& rises, const Json& classes) {
  const auto most = std::max_element(rises.begin(), rises.end(), [](const Json& a, const Json& b) {
    return !b.is_null() && (a.is_null() || a.get<double>() < b.get<double>());
  });
  if (most == rises.end() || most->is_null()) return "-";
  const auto at = static_cast<std::size_t>(most - rises.begin());
  return cat(classes.at(at).at("class").get<std::string>(), " ", change(*most, 2));
}

/// Of a table (E, E): the mean over pairs of different experts, and the pair with the most.
struct Pairs {
  double mean = 0, most = 0;
  std::size_t first = 0, second = 0;
  bool any = false;
};
Pairs pairs_of(const Json& matrix) {
  Pairs out;
  double count = 0;
  for (std::size_t i = 0; i < matrix.size(); ++i)
    for (std::size_t j = i + 1; j < matrix.size(); ++j) {
      const auto value = matrix[i][j].get<double>();
      out.mean += value;
      ++count;
      if (!out.any || value > out.most) out = {out.mean, value, i, j, true};
    }
  if (out.any) out.mean /= count;
  return out;
}

void add_pair_rows(TextTable& table, const Json& layers, const char* key, const std::string& name) {
  std::vector<Pairs> pairs;
  for (const auto& layer : layers) pairs.push_back(pairs_of(layer.at(key)));
  add_row(table, name + ", mean",
          [&](auto l) { return pairs[l].any ? fixed(pairs[l].mean, 3) : std::string("-"); });
  add_row(table, name + ", most", [&](auto l) {
    const auto& pair = pairs[l];
    return pair.any ? cat(fixed(pair.most, 3), " ", pair.first, "+", pair.second)
                    : std::string("-");
  });
}

/// A row a checkpoint, a column a layer.
std::string stage_table(const Json& stages, const char* key,
                        const std::function<std::string(const Json&)>& shown) {
  auto table = table_of_layers("step", stages.front().at("layers").size());
  for (const auto& stage : stages)
    add_row(table, grouped(stage.at("step").get<std::int64_t>()),
            [&](auto l) { return shown(stage.at("layers")[l].at(key)); });
  return laid_out(table);
}

}  // namespace

std::string ablation_text(const Json& view) {
  const auto shown = [](const Json& value) { return change(value); };
  return cat("Loss ", number(view.at("loss"), kLossDigits),
             " nats/token. Its rise where an expert can not be chosen, so that the\n"
             "next best takes over:\n",
             expert_table(view.at("layers"), "masked", "masked", shown),
             "\nIts rise where an expert is chosen as ever and answers nothing:\n",
             expert_table(view.at("layers"), "zeroed", "zeroed", shown),
             "\nThe kind of target that loses most where an expert can not be chosen:\n",
             expert_table(view.at("layers"), "masked", "masked_by_class", [&](const Json& rises) {
               return worst_class(rises, view.at("classes"));
             }));
}

std::string information_text(const Json& view) {
  const auto& layers = view.at("layers");
  auto table = table_of_layers("known [%]", layers.size());
  for (const auto* key : {"symbol", "previous", "next", "position"})
    add_row(table, key, [&](auto l) { return percent(layers[l].at(key).at("share")); });
  add_row(table, "entropy",
          [&](auto l) { return number(layers[l].at("symbol").at("entropy"), 3); });
  return cat(
      "How much of a token's first choice follows from its symbol, the one before, the\n"
      "next (its target) and its place in the window, as shares of the choice's\n"
      "entropy, which stands below [nats]:\n",
      laid_out(table));
}

std::string depth_text(const Json& view) {
  TextTable table{"after", {"loss", "attention", "mixture"}, {}, {}};
  table.labels.emplace_back("embedding");
  table.cells.push_back({number(view.at("embedding"), kLossDigits), "-", "-"});
  for (std::size_t layer = 0; layer < view.at("layers").size(); ++layer) {
    const auto& at = view.at("layers")[layer];
    table.labels.push_back(cat("layer ", layer));
    table.cells.push_back({number(at.at("mixture"), kLossDigits), change(at.at("attention_gain")),
                           change(at.at("mixture_gain"))});
  }
  return cat(
      "Loss [nats/token] by what the final norm and the head make of each layer, and\n"
      "how much of it attention and mixture of the layer take away:\n",
      laid_out(table));
}

std::string top_k_text(const Json& view) {
  const auto own = view.at("top_k").get<std::size_t>();
  const auto& losses = view.at("losses");
  TextTable table{"experts", {"loss", "change"}, {}, {}};
  for (std::size_t i = 0; i < losses.size(); ++i) {
    const auto difference = losses[i].get<double>() - losses[own - 1].get<double>();
    table.labels.push_back(cat(i + 1, i + 1 == own ? " (trained)" : ""));
    table.cells.push_back({number(losses[i], kLossDigits), change(Json(difference))});
  }
  return cat("Loss [nats/token] with so many experts for each token:\n", laid_out(table));
}

std::string similarity_text(const Json& view) {
  const auto& layers = view.at("layers");
  auto table = table_of_layers("alike", layers.size());
  add_pair_rows(table, layers, "router_cosine", "router");
  add_pair_rows(table, layers, "output_overlap", "output");
  add_row(table, "output, chance", [&](auto l) { return number(layers[l].at("chance"), 3); });
  const auto shown = [](const Json& value) { return number(value, 3); };
  return cat(
      "How alike two experts of a layer are, the mean and the two that are most: cosine\n"
      "of their rows of the router; overlap of the directions they write most in:\n",
      laid_out(table), "\nLength of an expert's answer, mean over its tokens:\n",
      expert_table(layers, "norm", "output_norm", shown),
      "\nREAP score, the mean of gate times length:\n",
      expert_table(layers, "REAP", "reap", shown));
}

std::string saturation_text(const Json& view) {
  const auto& stages = view.at("checkpoints");
  const auto margin = [](const Json& value) { return number(value, 3); };
  return cat("Share of a token's experts that it keeps to the newest checkpoint [%]:\n",
             stage_table(stages, "kept", percent),
             "\nShare that changed since the checkpoint before [%]:\n",
             stage_table(stages, "flips", percent),
             "\nMargin of the last logit that is chosen over the next:\n",
             stage_table(stages, "margin", margin));
}

}  // namespace moe::cli
