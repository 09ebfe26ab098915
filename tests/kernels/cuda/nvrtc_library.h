#pragma once

#include <cstdlib>
#include <string>

#include "moe/base/error.h"
#include "moe/base/path.h"

namespace moe::kernels::cuda {

/// NVRTC of the folder where scripts/check_cuda_kernels.sh looks for it; else "", the system's.
inline std::string nvrtc_to_test() {
  const auto* folder = std::getenv("MAKEMOE_NVRTC");
  const auto* source = std::getenv("MAKEMOE_SOURCE_DIR");
  const auto place = folder != nullptr ? fs::path(folder)
                     : source != nullptr
                         ? fs::path(source) / "build-nvrtc" / "nvidia" / "cu13" / "lib"
                         : fs::path();
  for (const auto& path : entries_of(place, ErrorKind::resource))
    if (path.filename().string().starts_with("libnvrtc.so")) return path.string();
  return "";
}

}  // namespace moe::kernels::cuda
