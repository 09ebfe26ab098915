#include "kernels/cuda/driver.h"

#include <dlfcn.h>

#include "moe/base/error.h"
#include "moe/base/text.h"

namespace moe::kernels::cuda {

struct Driver::Library {
  // cuda.h's own, of which libtorch's wheels bring no header.
  using Result = int;
  using Device = int;
  static constexpr Result kSuccess = 0;
  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_...
  static constexpr int kComputeMajor = 75, kComputeMinor = 76;

  explicit Library(const std::string& name) : handle(dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (handle == nullptr)
      throw ResourceError(cat(name,
                              ": NVIDIA's driver is not there or can not be loaded; install "
                              "it, or use --device cpu"));
    find("cuGetErrorName", error_name);
    find("cuCtxGetDevice", current_device);
    find("cuDeviceGetAttribute", attribute);
    find("cuModuleLoadData", load_module);
    find("cuModuleGetFunction", get_function);
    find("cuLaunchKernel", launch_kernel);
  }
  template <class Call>
  void find(const char* name, Call*& call) {
    call = reinterpret_cast<Call*>(dlsym(handle, name));  // NOLINT: as POSIX has it
    if (call == nullptr)
      throw ResourceError(cat("NVIDIA's driver has no ", name, "; install a newer one"));
  }
  void check(Result result, const std::string& what) const {
    if (result == kSuccess) return;
    const char* name = nullptr;
    if (error_name(result, &name) != kSuccess || name == nullptr) name = "an unknown error";
    throw ResourceError(cat("CUDA, ", what, ": ", name));
  }

  void* handle;  // stays open: the driver lives as long as the process
  Result (*error_name)(Result, const char**) = nullptr;
  Result (*current_device)(Device*) = nullptr;
  Result (*attribute)(int*, int, Device) = nullptr;
  Result (*load_module)(void**, const void*) = nullptr;
  Result (*get_function)(Function*, void*, const char*) = nullptr;
  Result (*launch_kernel)(Function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                          unsigned, void*, void**, void**) = nullptr;
};

Driver::Driver(const std::string& library) : library_(std::make_unique<Library>(library)) {}
Driver::~Driver() = default;

std::string Driver::architecture() const {
  Library::Device device = 0;
  library_->check(library_->current_device(&device), "asking for the current GPU");
  const auto asked = [&](int number) {
    int value = 0;
    library_->check(library_->attribute(&value, number, device), "asking what GPU it is");
    return value;
  };
  return cat("sm_", asked(Library::kComputeMajor), asked(Library::kComputeMinor));
}

void* Driver::load(const std::string& code) const {
  void* module = nullptr;
  library_->check(library_->load_module(&module, code.data()), "loading kernels");
  return module;
}

Function Driver::function(void* module, const std::string& symbol) const {
  Function function = nullptr;
  library_->check(library_->get_function(&function, module, symbol.c_str()),
                  cat("looking for the kernel ", symbol));
  return function;
}

void Driver::launch(Function function, Launch launch, void* stream, void** arguments) const {
  library_->check(library_->launch_kernel(function, launch.blocks, 1, 1, launch.threads, 1, 1,
                                          /*shared=*/0, stream, arguments, /*extra=*/nullptr),
                  "starting a kernel");
}

}  // namespace moe::kernels::cuda
