// The slot table on the device against a counting sort that reads as docs/adr/0041 does.

#include "kernels/cuda/slots.cuh"

#include "orders.h"

namespace moe::kernels::cuda {
namespace {

using cuda_on_cpu::launch;

struct SlotCase {
  const char* name;
  Index slots;
  int experts, capacity, unbound;
};

void PrintTo(const SlotCase& c, std::ostream* to) { *to << c.name; }

/// As SlotTable, and the place of each slot.
struct Table {
  std::vector<int> slots, first_panel, places;
  std::vector<Index> load;
  auto parts() const { return std::tuple(slots, first_panel, places, load); }
};

Index panels_of(Index slots, int experts) {
  return std::min(slots, pieces(slots, kPanel) + experts);
}

/// Experts of the slots: some are chosen often, some never.
std::vector<int> chosen_of(const SlotCase& c) {
  std::mt19937 bits(static_cast<unsigned>(c.slots));
  std::vector<int> chosen(static_cast<std::size_t>(c.slots));
  for (auto& e : chosen) {
    const auto drawn = static_cast<int>(bits() % static_cast<unsigned>(c.experts));
    e = bits() % 3 == 0 ? drawn / 2 : drawn;
    if (c.experts > 2 && e == 1) e = 0;
  }
  return chosen;
}

/// Expert by expert, the slots that chose it, until it is full.
Table table_by_sorting(const SlotCase& c, const std::vector<int>& chosen) {
  Table table{
      std::vector<int>(static_cast<std::size_t>(panels_of(c.slots, c.experts) * kPanel), -1),
      {0},
      std::vector<int>(chosen.size(), -1),
      {}};
  for (int e = 0; e < c.experts; ++e) {
    Index load = 0;
    for (std::size_t s = 0; s < chosen.size(); ++s) {
      const bool is_bound = c.capacity >= 0 && e < c.experts - c.unbound;
      if (chosen[s] != e || (is_bound && load == c.capacity)) continue;
      const auto place = table.first_panel.back() * kPanel + load++;
      table.slots[static_cast<std::size_t>(place)] = static_cast<int>(s);
      table.places[s] = static_cast<int>(place);
    }
    table.load.push_back(load);
    table.first_panel.push_back(table.first_panel.back() + static_cast<int>(pieces(load, kPanel)));
  }
  return table;
}

Table table_of(const SlotCase& c, const std::vector<int>& chosen, unsigned seed) {
  const auto stretches = static_cast<unsigned>(pieces(c.slots, kStretch));
  const auto size = panels_of(c.slots, c.experts) * kPanel;
  Table table{unwritten<int>(size), unwritten<int>(c.experts + 1), unwritten<int>(c.slots),
              unwritten<Index>(c.experts)};
  auto counts = unwritten<int>(stretches * c.experts);
  launch(stretches, kStretch, seed, [&] {
    count_slots(chosen.data(), c.slots, c.experts, counts.data(), table.slots.data(), size);
  });
  launch(1, kMostExperts, seed, [&] {
    place_experts(counts.data(), stretches, c.experts, c.capacity, c.unbound,
                  table.first_panel.data(), table.load.data());
  });
  launch(stretches, kStretch, seed, [&] {
    fill_slots(chosen.data(), c.slots, c.experts, counts.data(), table.first_panel.data(),
               table.load.data(), table.slots.data(), table.places.data());
  });
  return table;
}

class CudaSlots : public ::testing::TestWithParam<SlotCase> {};

TEST_P(CudaSlots, ArePlacedByExpertInTheOrderOfTheTokens) {
  const auto chosen = chosen_of(GetParam());
  const auto got =
      in_every_order([&](unsigned seed) { return table_of(GetParam(), chosen, seed).parts(); });
  const auto want = table_by_sorting(GetParam(), chosen);
  EXPECT_EQ(std::get<0>(got), want.slots);
  EXPECT_EQ(std::get<1>(got), want.first_panel);
  EXPECT_EQ(std::get<2>(got), want.places);
  EXPECT_EQ(std::get<3>(got), want.load);
}

TEST_P(CudaSlots, PlacesAreTheInverseOfTheTable) {
  const auto table = table_of(GetParam(), chosen_of(GetParam()), 1);
  Index served = 0;
  for (std::size_t s = 0; s < table.places.size(); ++s)
    if (table.places[s] >= 0) {
      ++served;
      EXPECT_EQ(table.slots[static_cast<std::size_t>(table.places[s])], static_cast<int>(s));
    }
  Index load = 0;
  for (const auto of_expert : table.load) load += of_expert;
  EXPECT_EQ(served, load);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, CudaSlots,
    ::testing::Values(SlotCase{"one_slot", 1, 1, -1, 0},
                      SlotCase{"fewer_slots_than_experts", 5, 9, -1, 0},
                      SlotCase{"one_stretch_less_one", 255, 8, -1, 0},
                      SlotCase{"one_stretch", 256, 8, -1, 0}, SlotCase{"stretches", 1100, 7, -1, 0},
                      SlotCase{"full_experts", 700, 5, 40, 0},
                      SlotCase{"capacity_of_none", 100, 4, 0, 0},
                      SlotCase{"two_without_a_capacity", 700, 6, 33, 2},
                      SlotCase{"as_many_experts_as_there_may_be", 900, 1024, 2, 1}),
    [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace moe::kernels::cuda
