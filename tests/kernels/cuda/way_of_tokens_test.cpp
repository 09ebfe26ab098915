// The kernels of a mixture one after another, as an engine starts them: logits, choices, gates,
// slots, gathered rows, combined answers, and back. Experts that answer their input, times their
// number and one, stand in for the products.

#include "kernels/cuda/mixture.cuh"
#include "kernels/cuda/route.cuh"
#include "kernels/cuda/slots.cuh"
#include "orders.h"

namespace moe::kernels::cuda {
namespace {

using cuda_on_cpu::launch;

constexpr Index kTokens = 90, kWidth = 12;
constexpr int kExperts = 6, kTopK = 2, kShared = 1, kTokenSlots = kTopK + kShared;
constexpr Index kSlots = kTokens * kTokenSlots;
constexpr Index kPlaces = (pieces(kSlots, kPanel) + kExperts + kShared) * kPanel;
constexpr unsigned kWayThreads = 64;

class Way {
 public:
  Way(int capacity, unsigned seed) : seed_(seed) {
    const Router<double> router{kTokens, kExperts, kTopK,   kTokenSlots,  Gate::topk_softmax,
                                false,   1,        nullptr, logits.data()};
    run(3, [&] { choose_experts(router, chosen.data()); });
    run(3, [&] { gate_values(router, chosen.data(), gates.data()); });
    run(1, [&] {
      fill_shared_slots<double>(kTokens, kExperts, kTopK, kTokenSlots, nullptr, chosen.data(),
                                gates.data());
    });
    sort(capacity);
    run(3, [&] { gather_tokens(places(), x.data(), rows.data()); });
    answer();
    run(3, [&] { combine(places(), kept(), rows.data(), x.data(), out.data()); });
  }

  /// Gradients of x by way of the experts, if that of `out` is x.
  std::vector<double> backward() {
    auto d_x = unwritten<double>(kTokens * kWidth);
    run(3, [&] { combine_backward(places(), kept(), x.data(), rows.data()); });
    answer();
    run(3, [&] { gather_tokens_backward(places(), rows.data(), x.data(), d_x.data()); });
    return d_x;
  }

  std::vector<double> logits = random_values<double>(kTokens * kExperts, 1);
  std::vector<double> x = random_values<double>(kTokens * kWidth, 2);
  std::vector<double> gates = unwritten<double>(kSlots), rows = unwritten<double>(kPlaces * kWidth),
                      out = unwritten<double>(kTokens * kWidth);
  std::vector<int> chosen = unwritten<int>(kSlots), table = unwritten<int>(kPlaces),
                   of = unwritten<int>(kSlots), first_panel = unwritten<int>(kExperts + 2);

 private:
  void run(unsigned grid, const std::function<void()>& kernel) {
    launch(grid, kWayThreads, seed_, kernel);
  }
  Places places() const { return {kTokens, kWidth, kTokenSlots, kPlaces, table.data(), of.data()}; }
  Gates<double> kept() const { return {gates.data(), {}, false}; }

  void sort(int capacity) {
    constexpr int kAll = kExperts + kShared;
    const auto stretches = static_cast<unsigned>(pieces(kSlots, kStretch));
    auto counts = unwritten<int>(stretches * kAll);
    std::vector<Index> load(kAll);
    launch(stretches, kStretch, seed_,
           [&] { count_slots(chosen.data(), kSlots, kAll, counts.data(), table.data(), kPlaces); });
    launch(1, kMostExperts, seed_, [&] {
      place_experts(counts.data(), stretches, kAll, capacity, kShared, first_panel.data(),
                    load.data());
    });
    launch(stretches, kStretch, seed_, [&] {
      fill_slots(chosen.data(), kSlots, kAll, counts.data(), first_panel.data(), load.data(),
                 table.data(), of.data());
    });
  }

  /// The panels of expert e times e + 1.
  void answer() {
    for (int e = 0; e < kExperts + kShared; ++e)
      for (auto i = first_panel[static_cast<std::size_t>(e)] * kPanel * kWidth;
           i < first_panel[static_cast<std::size_t>(e) + 1] * kPanel * kWidth; ++i)
        rows[static_cast<std::size_t>(i)] *= e + 1;
  }

  unsigned seed_;
};

/// x plus what its experts answer; `capacity` slots of each expert are served, first come first.
std::vector<double> by_hand(const Way& way, int capacity) {
  std::vector<int> load(kExperts + kShared, 0);
  auto want = way.x;
  for (std::size_t slot = 0; slot < way.chosen.size(); ++slot) {
    const int e = way.chosen[slot];
    if (e < kExperts && load[static_cast<std::size_t>(e)]++ >= capacity) continue;
    for (Index c = 0; c < kWidth; ++c) {
      const auto i = slot / kTokenSlots * kWidth + static_cast<std::size_t>(c);
      want[i] += way.gates[slot] * (e + 1) * way.x[i];
    }
  }
  return want;
}

TEST(CudaWayOfTokens, EachTokenGetsWhatItsExpertsAnswerAndLosesWhatIsBeyondTheirCapacity) {
  for (const int capacity : {1000, 40, 0}) {
    const auto out = in_every_order([&](unsigned seed) { return Way(capacity, seed).out; });
    expect_near(out, by_hand(Way(capacity, 1), capacity), kNear<double>);
  }
}

TEST(CudaWayOfTokens, BackwardOfALinearWayIsTheSameWay) {
  const auto d_x = in_every_order([&](unsigned seed) { return Way(40, seed).backward(); });
  expect_near(d_x, Way(40, 1).out, kNear<double>);
}

}  // namespace
}  // namespace moe::kernels::cuda
