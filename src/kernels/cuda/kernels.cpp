#include "kernels/cuda/kernels.h"

#include "kernels/cuda/texts.h"
#include "moe/base/text.h"

namespace moe::kernels::cuda {

namespace {

/// A program of one kernel; the others of its file are not compiled with it. Its name is not the
/// file's, which would then include itself.
ProgramSource source_of(const char* file, const std::string& kernel) {
  ProgramSource source{kernel,
                       cat("#include \"", file, "\"\n"),
                       /*headers=*/{},
                       {cat("moe::kernels::cuda::", kernel)}};
  for (const auto& text : cuda_texts())
    source.headers.push_back({std::string(text.name), std::string(text.text)});
  return source;
}

}  // namespace

Kernels::Kernels(Toolchain toolchain)
    : toolchain_(std::move(toolchain)), driver_(toolchain_.driver) {}

Function Kernels::function(const char* file, const std::string& kernel) {
  const std::lock_guard lock(mutex_);
  auto& found = functions_[kernel];
  if (found != nullptr) return found;
  const Nvrtc compiler(toolchain_.nvrtc);
  const auto source = source_of(file, kernel);
  const ProgramTarget target{driver_.architecture(), compiler.version()};
  const auto program = ProgramCache(toolchain_.cache).get(source, target, [&] {
    return compiler.compile(source, target.architecture);
  });
  found = driver_.function(driver_.load(program.code), program.symbols.at(source.kernels.front()));
  return found;
}

}  // namespace moe::kernels::cuda
