#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/cpu/arguments.h"
#include "moe/kernels/slot_table.h"

namespace moe::kernels {

/// Where a SlotTable lies.
struct SlotPlaces {
  std::int32_t* slots;        // (slot_panels, kPanelSlots)
  std::int32_t* first_panel;  // (E + 1)
  std::int64_t* load;         // (E)
};

static_assert(kPanelSlots == cpu::kPanel, "products take the panels as they are");

/// make_slot_table of `slots` choices, each an expert in [0, experts), of which the last `unbound`
/// have no capacity. Panels beyond the last expert's stay as they are.
template <class Expert>
void sort_slots(const Expert* chosen, std::int64_t slots, std::int64_t experts,
                std::int64_t capacity, std::int64_t unbound, const SlotPlaces& to) {
  std::fill_n(to.load, experts, 0);
  for (std::int64_t s = 0; s < slots; ++s) ++to.load[chosen[s]];
  to.first_panel[0] = 0;
  std::vector<std::int64_t> next(static_cast<std::size_t>(experts));
  for (std::int64_t e = 0; e < experts; ++e) {
    if (capacity >= 0 && e < experts - unbound) to.load[e] = std::min(to.load[e], capacity);
    next[static_cast<std::size_t>(e)] = to.first_panel[e] * kPanelSlots;
    to.first_panel[e + 1] =
        static_cast<std::int32_t>(to.first_panel[e] + cpu::panels_of(to.load[e]));
  }
  std::fill_n(to.slots, to.first_panel[experts] * kPanelSlots, -1);
  for (std::int64_t s = 0; s < slots; ++s) {
    const auto e = static_cast<std::size_t>(chosen[s]);
    if (next[e] < to.first_panel[e] * kPanelSlots + to.load[e])
      to.slots[next[e]++] = static_cast<std::int32_t>(s);
  }
}

}  // namespace moe::kernels
