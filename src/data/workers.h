#pragma once

#include <cstddef>
#include <functional>

namespace moe {

/// Calls work(worker, piece) once for each piece in [0, pieces), from up to `threads` threads at
/// once, each of which is one worker in [0, threads), the calling one 0. Which worker gets which
/// piece differs from run to run. Fewer threads do where the system gives no more. What a call
/// throws is thrown here, once all have ended; pieces that were not begun by then are left out.
void share_work(int threads, std::size_t pieces,
                const std::function<void(std::size_t worker, std::size_t piece)>& work);

}  // namespace moe
