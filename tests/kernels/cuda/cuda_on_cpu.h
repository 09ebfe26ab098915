#pragma once

// CUDA's words for g++, so that the texts of src/kernels/cuda run without a GPU (docs/adr/0053):
// the threads of a block are fibers of one thread. Which fiber goes on is drawn anew at each
// barrier, and so is the order of the blocks. A kernel whose outcome depends on an order that CUDA
// does not promise then gives other bits for other seeds. The compiler is told to include this
// before all else, as CUDA's own words need no include.

#include <math.h>
#include <ucontext.h>

#include <cstring>
#include <functional>
#include <optional>
#include <random>
#include <stdexcept>
#include <utility>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

#define __global__ inline  // several tests include a text
#define __device__
#define __host__
#define __shared__ static  // one block at a time

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace cuda_on_cpu {

enum class State { runnable, at_warp, at_block, done };

/// A thread of the block.
struct Fiber {
  ucontext_t context;
  void* fake_stack = nullptr;  // the address sanitizer's
  State state = State::runnable;
  unsigned long long shown[2] = {};  // what the other lanes of its warp see
  unsigned shuffles = 0;             // so far
};

inline constexpr unsigned kWarpSize = 32, kMostThreads = 1024;
inline constexpr std::size_t kStackSize = std::size_t{1} << 16;

/// The block that runs.
class Block {
 public:
  /// Runs `kernel` on each thread; throws if some threads wait for others that have ended.
  void run(unsigned number, const std::function<void()>& kernel, std::mt19937& order) {
    number_ = number;
    kernel_ = &kernel;
    has_leader_ = order() % 2 == 0;
    leader_ = static_cast<unsigned>(order());
    start();
    while (const auto ready = next_ready(order)) {
      const unsigned thread = *ready;
      resume(thread);
      open_barriers(thread);
    }
    for (unsigned t = 0; t < blockDim.x; ++t)
      if (fibers_[t].state != State::done)
        throw std::logic_error("a barrier that not all threads come to");
  }

  /// This thread waits until the others of its warp, or of its block, do.
  void wait(State where) {
    Fiber& mine = fibers_[threadIdx.x];
    mine.state = where;
    leave(&mine.fake_stack, mine);
  }

  /// What the lane shows whose number differs by `lane_mask`. A lane shows its values at two places
  /// in turn: it may be one shuffle ahead of another, never two.
  template <class T>
  T shuffle(T value, unsigned lane_mask) {
    static_assert(sizeof(T) <= sizeof(Fiber::shown[0]));
    Fiber& mine = fibers_[threadIdx.x];
    const unsigned turn = mine.shuffles++ % 2;
    std::memcpy(&mine.shown[turn], &value, sizeof value);
    wait(State::at_warp);
    T other;
    std::memcpy(&other, &fibers_[threadIdx.x ^ lane_mask].shown[turn], sizeof other);
    return other;
  }

 private:
  void start() {
    if (blockDim.x == 0 || blockDim.x % kWarpSize != 0 || blockDim.x > kMostThreads)
      throw std::logic_error("a block is of whole warps, 1024 threads at most");
    stacks_.resize(kMostThreads * kStackSize);
    fibers_.assign(blockDim.x, {});
    ready_.assign(blockDim.x / kWarpSize, {});
    for (unsigned t = 0; t < blockDim.x; ++t) {
      prepare(fibers_[t].context, stack_of(t));
      let_go(t);
    }
  }

  static void prepare(ucontext_t& context, char* stack) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack;
    context.uc_stack.ss_size = kStackSize;
    context.uc_link = nullptr;
    makecontext(&context, &Block::enter, 0);
  }

  char* stack_of(unsigned thread) { return stacks_.data() + thread * kStackSize; }

  /// A thread that can go on: of any warp, or, in half of the blocks, of one warp as long as it can
  /// go on, then of the next. The former finds what threads do to one another, the latter what a
  /// warp does that is far ahead.
  std::optional<unsigned> next_ready(std::mt19937& order) {
    const auto warps = static_cast<unsigned>(ready_.size());
    const unsigned first = has_leader_ ? leader_ : static_cast<unsigned>(order());
    for (unsigned i = 0; i < warps; ++i) {
      auto& of_warp = ready_[(first % warps + i) % warps];
      if (of_warp.empty()) continue;
      std::swap(of_warp[order() % of_warp.size()], of_warp.back());
      const unsigned thread = of_warp.back();
      of_warp.pop_back();
      return thread;
    }
    return std::nullopt;
  }

  /// A barrier opens when all who share it are there.
  void open_barriers(unsigned thread) {
    open(State::at_block, 0, blockDim.x);
    const unsigned first = thread / kWarpSize * kWarpSize;
    open(State::at_warp, first, first + kWarpSize);
  }
  void open(State where, unsigned begin, unsigned end) {
    for (unsigned t = begin; t < end; ++t)
      if (fibers_[t].state != where) return;
    for (unsigned t = begin; t < end; ++t) let_go(t);
  }
  void let_go(unsigned thread) {
    fibers_[thread].state = State::runnable;
    ready_[thread / kWarpSize].push_back(thread);
  }

  void resume(unsigned thread) {
    threadIdx = {thread};
    blockIdx = {number_};
#ifdef __SANITIZE_ADDRESS__
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, stack_of(thread), kStackSize);
    swapcontext(&home_, &fibers_[thread].context);
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#else
    swapcontext(&home_, &fibers_[thread].context);
#endif
  }

  static void enter();
  void body() {
    arrive(nullptr);
    (*kernel_)();
    fibers_[threadIdx.x].state = State::done;
    leave(nullptr, fibers_[threadIdx.x]);
  }

  /// Back to `run`; a fake stack of null means for good.
  void leave([[maybe_unused]] void** fake, Fiber& mine) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(fake, home_stack_, home_size_);
#endif
    swapcontext(&mine.context, &home_);
    arrive(mine.fake_stack);
  }
  void arrive([[maybe_unused]] void* fake) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake, &home_stack_, &home_size_);
#endif
  }

  std::vector<char> stacks_;
  std::vector<Fiber> fibers_;
  std::vector<std::vector<unsigned>> ready_;  // by warp
  bool has_leader_ = false;
  unsigned leader_ = 0;
  const std::function<void()>* kernel_ = nullptr;
  ucontext_t home_;
  const void* home_stack_ = nullptr;
  std::size_t home_size_ = 0;
  unsigned number_ = 0;
};

inline Block block;
inline void Block::enter() { block.body(); }

/// kernel<<<grid, threads>>>, in an order that follows from `seed`.
inline void launch(unsigned grid, unsigned threads, unsigned seed,
                   const std::function<void()>& kernel) {
  std::mt19937 order(seed);
  gridDim = {grid};
  blockDim = {threads};
  std::vector<unsigned> blocks(grid);
  for (unsigned b = 0; b < grid; ++b) blocks[b] = b;
  for (unsigned left = grid; left > 0; --left) {
    std::swap(blocks[order() % left], blocks[left - 1]);
    block.run(blocks[left - 1], kernel, order);
  }
}

}  // namespace cuda_on_cpu

inline void __syncthreads() { cuda_on_cpu::block.wait(cuda_on_cpu::State::at_block); }
/// All lanes take part: the texts know no other mask.
inline void __syncwarp(unsigned = 0xFFFFFFFFU) {
  cuda_on_cpu::block.wait(cuda_on_cpu::State::at_warp);
}
template <class T>
T __shfl_xor_sync(unsigned, T value, int lane_mask) {
  return cuda_on_cpu::block.shuffle(value, static_cast<unsigned>(lane_mask));
}

// Functions of CUDA that math.h does not have.
inline void sincospi(double x, double* sine, double* cosine) {
  constexpr double kPi = 3.14159265358979323846;
  *sine = sin(kPi * x);
  *cosine = cos(kPi * x);
}
