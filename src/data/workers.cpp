#include "data/workers.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace moe {

void share_work(int threads, std::size_t pieces,
                const std::function<void(std::size_t worker, std::size_t piece)>& work) {
  std::atomic<std::size_t> next{0};
  std::exception_ptr failure;
  std::mutex guard;
  const auto take_pieces = [&](std::size_t worker) {
    try {
      for (auto piece = next++; piece < pieces; piece = next++) work(worker, piece);
    } catch (...) {
      next = pieces;
      const std::lock_guard lock(guard);
      if (!failure) failure = std::current_exception();
    }
  };
  const auto helpers = std::min(static_cast<std::size_t>(std::max(threads, 1)), pieces);
  {
    std::vector<std::jthread> started;
    for (std::size_t worker = 1; worker < helpers; ++worker) {
      try {
        started.emplace_back(take_pieces, worker);
      } catch (const std::system_error&) {
        break;  // those that run take its pieces too
      }
    }
    take_pieces(0);
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace moe
