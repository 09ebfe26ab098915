#pragma once

#include <string>
#include <vector>

#include "report/markup.h"
#include "report/run_data.h"

namespace moe::report {

/// A part of the page with a heading, and a line in the table of contents.
struct Section {
  std::string id;  // of this program's own; unique in the page
  std::string title;
  Markup content;
};

/// The runs side by side: a table, losses, rates, configs. In the order given.
std::vector<Section> comparison(const std::vector<RunData>& runs);

/// The routing, samples and checkpoints of one run, under ids that begin with `id`.
std::vector<Section> details(const RunData& run, const std::string& id, bool is_alone);

/// Every config key; of one run against the defaults, of several against one another.
Markup config_tables(const std::vector<RunData>& runs);

/// Expert loads over time and at the end, and which symbols each expert serves.
Markup routing_figures(const RunData& run, const std::string& id);

/// What `inspect --save` left in the run's folder.
Markup view_figures(const RunData& run, const std::string& id);

}  // namespace moe::report
