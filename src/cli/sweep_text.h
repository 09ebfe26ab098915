#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "moe/sweep/summary.h"

namespace moe::cli {

/// Columns for people: numbers to the right, each as wide as it must be.
struct Columns {
  std::vector<std::string> heads;
  std::vector<std::vector<std::string>> rows;
  std::size_t labels = 1;  // the first so many stand in each block
};

/// The columns as text. Those that do not fit into `width` cells follow below in further blocks.
std::string aligned(const Columns& columns, std::size_t width);

/// How wide the terminal is that a stream is shown on; `otherwise` when it is none.
std::size_t terminal_width(int stream, std::size_t otherwise = 80);

/// A value of a config: numbers to four significant digits, the end of a long text.
std::string short_value(const Json& value);
/// A value of the objective; "-" for none.
std::string objective_text(const std::optional<double>& value);

/// How far a trial is, by what it reported last: "40/600"; "-" where it has not.
std::string progress(const sweep::Definition& definition, const sweep::Point& point,
                     const sweep::Trial* trial);
/// What it reported last.
std::optional<double> newest_value(const sweep::Trial* trial);

/// The values of the space's parameters at `point`, in their order; "-" for one without a value.
std::vector<std::string> value_cells(const sweep::Definition& definition,
                                     const sweep::Point& point);
/// "learning_rate=0.004919  top_k=2", padded so that lines of several points form columns.
std::vector<std::string> value_pairs(const sweep::Definition& definition,
                                     const sweep::Point& point);
/// `first`, then the parts two spaces apart, in as many lines of at most `width` as it takes.
std::string wrapped(const std::string& first, const std::vector<std::string>& parts,
                    std::size_t width);

/// The best trial with its values and its folder; there must be one.
std::string best_text(const sweep::Sweep& sweep, std::size_t width);
/// The ten best points; "" where there are none.
std::string leaders_text(const sweep::Sweep& sweep, std::size_t width);
/// What runs or was given back, with its step and its newest value; "" where there is nothing.
std::string running_text(const sweep::Sweep& sweep, std::size_t width);
/// The newest failures with their reasons; "" where there are none.
std::string failures_text(const sweep::Sweep& sweep);

}  // namespace moe::cli
