#pragma once

#include <array>
#include <string>
#include <string_view>

#include "cli/session.h"
#include "cli/target.h"
#include "moe/base/json.h"
#include "moe/base/log.h"
#include "moe/eval/split_batches.h"

namespace moe::cli {

// What `inspect` shows besides the routing, one flag each (docs/inspect.md).

/// What a view is made of.
struct ViewInput {
  LoadedModel& loaded;
  const Target& target;
  SplitRequest request;
  Log& log;
};

Json ablation_view(const ViewInput& input);
Json information_view(const ViewInput& input);
Json depth_view(const ViewInput& input);
Json top_k_view(const ViewInput& input);
Json similarity_view(const ViewInput& input);
Json saturation_view(const ViewInput& input);

// The same for a terminal: tables with a line above each that says what they hold.
std::string ablation_text(const Json& view);
std::string information_text(const Json& view);
std::string depth_text(const Json& view);
std::string top_k_text(const Json& view);
std::string similarity_text(const Json& view);
std::string saturation_text(const Json& view);

struct View {
  std::string_view flag, key;  // --ablate; its name in JSON and of its file
  std::string_view help;
  Json (*compute)(const ViewInput&);
  std::string (*text)(const Json&);
  bool needs_router = true;
};
inline constexpr std::array kViews{
    View{"--ablate", "ablation", "how the loss rises without each expert", ablation_view,
         ablation_text},
    View{"--information", "information",
         "how much of the choice of an expert follows from symbol, neighbours and position",
         information_view, information_text},
    View{"--depth", "depth", "the loss after each layer, and what attention and mixture gain",
         depth_view, depth_text, /*needs_router=*/false},
    View{"--top-k-sweep", "top_k_sweep", "the loss with 1 to all experts for each token",
         top_k_view, top_k_text},
    View{"--similarity", "similarity", "how alike the experts of a layer are, and what each does",
         similarity_view, similarity_text},
    View{"--saturation", "saturation",
         "how settled the routing is, over the checkpoints that the run kept", saturation_view,
         saturation_text}};

}  // namespace moe::cli
