// Rows of tables on the device, and their gradients, against loops token by token in double.

#include "kernels/cuda/embedding.cuh"

#include "moe/base/random.h"
#include "orders.h"

namespace moe::kernels::cuda {
namespace {

using cuda_on_cpu::launch;

struct RowsCase {
  const char* name;
  Index windows, time, width, rows;
};
constexpr RowsCase kRowsCases[] = {{"one token", 1, 1, 1, 1},
                                   {"no whole blocks of words", 3, 5, 37, 4},
                                   {"more tokens than a stretch", 9, 64, 6, 65},
                                   {"more rows than tokens", 5, 70, 33, 50000},
                                   {"one row alone", 3, 200, 3, 1}};
constexpr unsigned kRowsGrid = 3, kRowsThreads = 64;
/// Sums of up to 600 values of either sign.
template <class T>
constexpr double kRowsNear = 4 * kNear<T>;

/// Tokens some of whose rows are much commoner than others, as symbols are.
template <class T>
struct EmbeddingWorld {
  explicit EmbeddingWorld(const RowsCase& shape) : c(shape) {
    std::mt19937 bits(3);
    for (Index n = 0; n < tokens(); ++n) {
      ids.push_back(static_cast<Index>(bits()) % c.rows / (bits() % 2 == 0 ? 1 : 5));
      sequence.push_back(n / c.time);
      position.push_back(n % c.time);
    }
  }
  Index tokens() const { return c.windows * c.time; }
  Embedding<T> embedding(bool has_positions, bool drops) const {
    return {tokens(),
            c.width,
            c.time,
            kFirst,
            ids.data(),
            rows.data(),
            has_positions ? positions.data() : nullptr,
            {{sequence.data(), position.data(), &key, 2}, kThreshold, 1 / 0.75},
            drops};
  }
  double kept(Index n, Index w) const {
    const auto words = philox4x32({static_cast<Word>(w / 4), static_cast<Word>(position[at(n)]),
                                   static_cast<Word>(sequence[at(n)]), 2},
                                  key);
    return words[at(w % 4)] >= kThreshold ? static_cast<double>(static_cast<T>(1 / 0.75)) : 0;
  }
  unsigned stretches() const { return static_cast<unsigned>(pieces(tokens(), kRowStretch)); }

  static constexpr Index kFirst = 2;  // position of the first token
  static constexpr Word kThreshold = static_cast<Word>(0.25 * 0x1p32);
  RowsCase c;
  Key key = stream_key(4, "dropout", 1);
  std::vector<Index> ids, sequence, position;
  std::vector<T> rows = random_values<T>(c.rows * c.width, 1);
  std::vector<T> positions = random_values<T>((kFirst + c.time) * c.width, 2);
  std::vector<T> d_out = random_values<T>(tokens() * c.width, 3);
};

template <class T>
class CudaEmbedding : public ::testing::Test {};
TYPED_TEST_SUITE(CudaEmbedding, FloatTypes);

TYPED_TEST(CudaEmbedding, ATokenIsItsRowAndItsPositionsAfterDropout) {
  for (const auto& shape : kRowsCases)
    for (const bool has_positions : {false, true})
      for (const bool drops : {false, true}) {
        SCOPED_TRACE(shape.name);
        const EmbeddingWorld<TypeParam> world(shape);
        const auto got = in_every_order([&](unsigned seed) {
          auto to = unwritten<TypeParam>(world.tokens() * shape.width);
          launch(kRowsGrid, kRowsThreads, seed,
                 [&] { embed(world.embedding(has_positions, drops), to.data()); });
          return to;
        });
        std::vector<double> want;
        for (Index n = 0; n < world.tokens(); ++n)
          for (Index w = 0; w < shape.width; ++w) {
            double sum = static_cast<double>(world.rows[at(world.ids[at(n)] * shape.width + w)]);
            if (has_positions)
              sum += static_cast<double>(world.positions[at(
                  (EmbeddingWorld<TypeParam>::kFirst + n % shape.time) * shape.width + w)]);
            want.push_back(drops ? sum * world.kept(n, w) : sum);
          }
        expect_near(got, want, kNear<TypeParam>);
      }
}

TYPED_TEST(CudaEmbedding, APositionsGradientIsTheSumOverWindowsBesideWhatIsThere) {
  for (const auto& shape : kRowsCases) {
    SCOPED_TRACE(shape.name);
    const EmbeddingWorld<TypeParam> world(shape);
    const auto got = in_every_order([&](unsigned seed) {
      auto to = world.positions;
      launch(kRowsGrid, kRowsThreads, seed, [&] {
        position_gradients(world.d_out.data(), world.tokens(), shape.width, shape.time,
                           EmbeddingWorld<TypeParam>::kFirst, to.data());
      });
      return to;
    });
    std::vector<double> want(world.positions.begin(), world.positions.end());
    for (Index n = 0; n < world.tokens(); ++n)
      for (Index w = 0; w < shape.width; ++w)
        want[at((EmbeddingWorld<TypeParam>::kFirst + n % shape.time) * shape.width + w)] +=
            static_cast<double>(world.d_out[at(n * shape.width + w)]);
    expect_near(got, want, kRowsNear<TypeParam>);
  }
}

TEST(CudaSortedRows, AreThoseOfEachStretchInTheOrderOfTheirTokens) {
  for (const auto& shape : kRowsCases) {
    SCOPED_TRACE(shape.name);
    EmbeddingWorld<float> world(shape);
    for (Index n = 0; n < world.tokens(); n += 7) world.ids[at(n)] = -1;
    const auto got = in_every_order([&](unsigned seed) {
      auto to = unwritten<Key>(world.tokens());
      launch(world.stretches(), kRowStretch, seed,
             [&] { sort_rows(world.ids.data(), world.tokens(), to.data()); });
      return to;
    });
    std::vector<Key> want;
    for (Index n = 0; n < world.tokens(); ++n)
      want.push_back(Key{static_cast<Word>(world.ids[at(n)])} << 32 | static_cast<Key>(n));
    for (Index first = 0; first < world.tokens(); first += kRowStretch)
      std::sort(want.begin() + first, want.begin() + std::min(first + kRowStretch, world.tokens()));
    EXPECT_EQ(got, want);
  }
}

/// d_rows, which hold `world.rows` before.
template <class T>
std::vector<T> row_gradients_in_order(const EmbeddingWorld<T>& world, unsigned seed) {
  auto sorted = unwritten<Key>(world.tokens());
  auto parts = unwritten<T>(world.tokens() * world.c.width);
  auto d_rows = world.rows;
  launch(world.stretches(), kRowStretch, seed,
         [&] { sort_rows(world.ids.data(), world.tokens(), sorted.data()); });
  const SortedRows rows{sorted.data(), world.tokens()};
  launch(kRowsGrid, kRowsThreads, seed,
         [&] { row_gradient_parts(rows, world.c.width, world.d_out.data(), parts.data()); });
  launch(kRowsGrid, kRowsThreads, seed,
         [&] { sum_row_gradients(rows, world.c.width, parts.data(), d_rows.data()); });
  return d_rows;
}

TYPED_TEST(CudaEmbedding, ARowsGradientIsTheSumOverItsTokensBesideWhatIsThere) {
  for (const auto& shape : kRowsCases)
    for (const bool some_have_none : {false, true}) {
      SCOPED_TRACE(shape.name);
      EmbeddingWorld<TypeParam> world(shape);
      if (some_have_none)
        for (Index n = 0; n < world.tokens(); n += 3) world.ids[at(n)] = -1;
      const auto got =
          in_every_order([&](unsigned seed) { return row_gradients_in_order(world, seed); });
      std::vector<double> want(world.rows.begin(), world.rows.end());
      for (Index n = 0; n < world.tokens(); ++n)
        for (Index w = 0; w < shape.width && world.ids[at(n)] >= 0; ++w)
          want[at(world.ids[at(n)] * shape.width + w)] +=
              static_cast<double>(world.d_out[at(n * shape.width + w)]);
      expect_near(got, want, kRowsNear<TypeParam>);
    }
}

}  // namespace
}  // namespace moe::kernels::cuda
