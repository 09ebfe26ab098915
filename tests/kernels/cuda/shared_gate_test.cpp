// The gate of the shared experts on the device against that of the CPU.

#include "kernels/cuda/shared_gate.cuh"

#include "cpu_twin.h"
#include "kernels/cuda/sums.cuh"
#include "orders.h"

namespace moe::kernels::cuda {
namespace {

using cuda_on_cpu::launch;

struct SharedCase {
  const char* name;
  Index tokens, width;
  int top_k, shared;
};
constexpr SharedCase kSharedCases[] = {{"one value", 1, 1, 1, 1},
                                       {"less values than lanes", 13, 21, 2, 3},
                                       {"more tokens than a stretch", 150, 40, 1, 1}};
constexpr unsigned kSharedGrid = 2, kSharedThreads = 64;

template <class T>
struct SharedWorld {
  explicit SharedWorld(const SharedCase& shape) : c(shape) {}
  int slots() const { return c.top_k + c.shared; }

  SharedCase c;
  std::vector<T> rows = random_values<T>(c.tokens * c.width, 1);
  std::vector<T> weight = random_values<T>(c.width, 2);
  std::vector<T> d_gates = random_values<T>(c.tokens * slots(), 3);
  std::vector<T> d_rows = random_values<T>(c.tokens * c.width, 4);
  std::vector<T> d_weight = random_values<T>(c.width, 5);
};

/// gate (N), d_rows (N, C), d_weight (C), the last two beside what was there.
template <class T>
using Outcome = std::tuple<std::vector<T>, std::vector<T>, std::vector<T>>;

template <class T>
Outcome<T> in_order(const SharedWorld<T>& world, unsigned seed) {
  const auto& c = world.c;
  auto gate = unwritten<T>(c.tokens), d_argument = gate;
  auto d_rows = world.d_rows, d_weight = world.d_weight;
  const Index stretches = pieces(c.tokens, kSharedGateTokens);
  auto parts = unwritten<double>(stretches * c.width);
  launch(kSharedGrid, kSharedThreads, seed, [&] {
    shared_gate(world.rows.data(), world.weight.data(), c.tokens, c.width, gate.data());
  });
  const SharedGates<T> gates{c.tokens,      c.width,     c.top_k,
                             world.slots(), gate.data(), world.d_gates.data()};
  launch(kSharedGrid, kSharedThreads, seed, [&] {
    shared_gate_backward(gates, world.weight.data(), d_argument.data(), d_rows.data());
  });
  launch(kSharedGrid, kSharedThreads, seed, [&] {
    shared_gate_parts(world.rows.data(), d_argument.data(), c.tokens, c.width, parts.data());
  });
  launch(kSharedGrid, kSharedThreads, seed, [&] {
    sum_stretches(parts.data(), stretches, c.width, c.width, /*adds=*/true, d_weight.data());
  });
  return {gate, d_rows, d_weight};
}

template <class T>
Outcome<T> of_twin(const SharedWorld<T>& world) {
  const auto& c = world.c;
  const Index stride = cpu::padded(c.width), panels = cpu::panels_of(c.tokens);
  std::vector<T> normed(at(panels * cpu::kPanel * stride)), d_normed(normed), gates;
  std::vector<T> d_shared(at(panels * cpu::kPanel));
  auto d_gates = world.d_gates, d_weight = world.d_weight;
  for (Index i = 0; i < c.tokens * c.width; ++i) {
    normed[at(i / c.width * stride + i % c.width)] = world.rows[at(i)];
    d_normed[at(i / c.width * stride + i % c.width)] = world.d_rows[at(i)];
  }
  cpu::Mixture<T> layer{};
  layer.tokens = c.tokens;
  layer.width = c.width;
  layer.top_k = c.top_k;
  layer.shared = c.shared;
  layer.gates_shared = true;
  layer.shared_gate.weight = world.weight.data();
  layer.shared_gate.d_weight = {d_weight.data(), /*adds=*/true};
  layer.normed = normed.data();
  layer.d_gates = d_gates.data();
  layer.d_shared = d_shared.data();
  std::vector<T> gate;
  for (Index n = 0; n < c.tokens; ++n) {
    gate.push_back(twin::shared_gate_value(layer, n));
    gates.insert(gates.end(), at(world.slots()), gate.back());
  }
  layer.gates = gates.data();
  for (Index first = 0; first < c.tokens; first += cpu::kPanel)
    twin::shared_gate_backward(layer, first, std::min<Index>(cpu::kPanel, c.tokens - first),
                               d_normed.data() + first * stride);
  twin::shared_gate_gradients(layer);
  std::vector<T> d_rows;
  for (Index i = 0; i < c.tokens * c.width; ++i)
    d_rows.push_back(d_normed[at(i / c.width * stride + i % c.width)]);
  return {gate, d_rows, d_weight};
}

template <class T>
class CudaSharedGate : public ::testing::Test {};
TYPED_TEST_SUITE(CudaSharedGate, FloatTypes);

TYPED_TEST(CudaSharedGate, GateAndGradientsAreThoseOfTheCpu) {
  for (const auto& shape : kSharedCases) {
    SCOPED_TRACE(shape.name);
    const SharedWorld<TypeParam> world(shape);
    const auto got = in_every_order([&](unsigned seed) { return in_order(world, seed); });
    const auto want = of_twin(world);
    expect_near(std::get<0>(got), std::get<0>(want), kNear<TypeParam>);
    expect_near(std::get<1>(got), std::get<1>(want), kNear<TypeParam>);
    expect_near(std::get<2>(got), std::get<2>(want), kNear<TypeParam>);
  }
}

}  // namespace
}  // namespace moe::kernels::cuda
