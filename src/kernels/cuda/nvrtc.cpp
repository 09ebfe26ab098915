#include "kernels/cuda/nvrtc.h"

#include <dlfcn.h>
#include <link.h>

#include <array>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "moe/base/error.h"
#include "moe/base/path.h"
#include "moe/base/text.h"

namespace moe::kernels::cuda {

namespace {

// nvrtc.h's own, of which libtorch's wheels bring no header. Unchanged since CUDA 11.
using Result = int;
using Handle = void*;  // nvrtcProgram
constexpr Result kSuccess = 0, kInvalidOption = 5;

constexpr std::array kNames{"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"};

/// Folders of the CUDA libraries that this process has loaded, and where CUDA 12's wheels have
/// NVRTC beside them: what libtorch brings is in no folder that the system searches.
std::vector<fs::path> loaded_cuda_folders() {
  std::vector<fs::path> folders;
  const auto visit = [](dl_phdr_info* info, std::size_t, void* to) {
    const fs::path path(info->dlpi_name);
    const auto name = path.filename().string();
    if (name.starts_with("libcudart.") || name.starts_with("libcublas.")) {
      auto& found = *static_cast<std::vector<fs::path>*>(to);
      found.push_back(path.parent_path());
      found.push_back(path.parent_path().parent_path().parent_path() / "cuda_nvrtc" / "lib");
    }
    return 0;
  };
  dl_iterate_phdr(visit, &folders);
  return folders;
}

/// Whether a file is NVRTC, under its own name or, as libtorch's archives have it, with a hash.
bool is_nvrtc(const std::string& name) {
  if (name.starts_with("libnvrtc-builtins") || name.find(".alt.") != std::string::npos)
    return false;
  return name.starts_with("libnvrtc.so") ||
         (name.starts_with("libnvrtc-") && name.find(".so") != std::string::npos);
}

/// The compiler of libtorch's own CUDA first: the driver that is there loads what it makes.
void* open_library(const std::string& library) {
  if (!library.empty()) return dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  for (const auto& folder : loaded_cuda_folders()) {
    std::error_code ignored;  // a folder that is not there
    for (const auto& entry : fs::directory_iterator(folder, ignored))
      if (is_nvrtc(entry.path().filename().string()))
        if (auto* found = dlopen(entry.path().c_str(), RTLD_NOW | RTLD_LOCAL)) return found;
  }
  for (const auto* name : kNames)
    if (auto* found = dlopen(name, RTLD_NOW | RTLD_LOCAL)) return found;
  return nullptr;
}

/// NVRTC asks the system for a second library by its bare name. Once that is loaded from the folder
/// of the first, it is found.
void load_builtins_beside(const void* function) {
  Dl_info info{};
  if (dladdr(function, &info) == 0 || info.dli_fname == nullptr) return;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(fs::path(info.dli_fname).parent_path(), ignored))
    if (entry.path().filename().string().starts_with("libnvrtc-builtins.so"))
      dlopen(entry.path().c_str(), RTLD_NOW | RTLD_GLOBAL);
}

}  // namespace

struct Nvrtc::Library {
  explicit Library(const std::string& name) : handle(open_library(name)) {
    if (handle == nullptr)
      throw ResourceError(cat(name.empty() ? "NVRTC (libnvrtc.so, CUDA's run-time compiler)" : name,
                              ": is not there or can not be loaded; install a CUDA build of "
                              "libtorch, or use --device cpu"));
    find("nvrtcVersion", version);
    find("nvrtcGetErrorString", error_text);
    find("nvrtcCreateProgram", create);
    find("nvrtcDestroyProgram", destroy);
    find("nvrtcAddNameExpression", add_name);
    find("nvrtcCompileProgram", compile);
    find("nvrtcGetProgramLogSize", log_size);
    find("nvrtcGetProgramLog", log);
    find("nvrtcGetCUBINSize", code_size);
    find("nvrtcGetCUBIN", code);
    find("nvrtcGetLoweredName", lowered_name);
    load_builtins_beside(reinterpret_cast<const void*>(version));  // NOLINT: as POSIX has it
  }
  template <class Function>
  void find(const char* name, Function*& function) {
    function = reinterpret_cast<Function*>(dlsym(handle, name));  // NOLINT: as POSIX has it
    if (function == nullptr)
      throw ResourceError(cat("NVRTC has no ", name, "; install CUDA 12 or later"));
  }
  void check(Result result, const char* what) const {
    if (result != kSuccess) throw std::logic_error(cat("NVRTC, ", what, ": ", error_text(result)));
  }

  void* handle;  // stays open: the compiler's own memory ends with the process
  Result (*version)(int*, int*) = nullptr;
  const char* (*error_text)(Result) = nullptr;
  Result (*create)(Handle*, const char*, const char*, int, const char* const*,
                   const char* const*) = nullptr;
  Result (*destroy)(Handle*) = nullptr;
  Result (*add_name)(Handle, const char*) = nullptr;
  Result (*compile)(Handle, int, const char* const*) = nullptr;
  Result (*log_size)(Handle, std::size_t*) = nullptr;
  Result (*log)(Handle, char*) = nullptr;
  Result (*code_size)(Handle, std::size_t*) = nullptr;
  Result (*code)(Handle, char*) = nullptr;
  Result (*lowered_name)(Handle, const char*, const char**) = nullptr;
};

/// The compiler's own object of one program.
class Nvrtc::Compilation {
 public:
  Compilation(const Library& nvrtc, const ProgramSource& source) : nvrtc_(nvrtc) {
    std::vector<const char*> texts, names;
    for (const auto& header : source.headers) {
      texts.push_back(header.text.c_str());
      names.push_back(header.name.c_str());
    }
    nvrtc.check(nvrtc.create(&program_, source.text.c_str(), source.name.c_str(),
                             static_cast<int>(texts.size()), texts.data(), names.data()),
                "create");
  }
  ~Compilation() { nvrtc_.destroy(&program_); }
  Compilation(const Compilation&) = delete;
  Compilation& operator=(const Compilation&) = delete;

  Handle get() const { return program_; }

  /// What `size` and `read` tell of the program.
  template <class Size, class Read>
  std::string bytes(Size size, Read read) const {
    std::size_t count = 0;
    nvrtc_.check(size(program_, &count), "size");
    std::string out(count, '\0');
    nvrtc_.check(read(program_, out.data()), "read");
    return out;
  }

 private:
  const Library& nvrtc_;
  Handle program_ = nullptr;
};

Nvrtc::Nvrtc(const std::string& library) : library_(std::make_unique<Library>(library)) {}
Nvrtc::~Nvrtc() = default;

std::string Nvrtc::version() const {
  int major = 0, minor = 0;
  library_->check(library_->version(&major, &minor), "version");
  return cat(major, ".", minor);
}

Program Nvrtc::compile(const ProgramSource& source, const std::string& architecture) const {
  const auto& nvrtc = *library_;
  const Compilation compilation(nvrtc, source);
  for (const auto& kernel : source.kernels)
    nvrtc.check(nvrtc.add_name(compilation.get(), kernel.c_str()), kernel.c_str());
  const auto target = cat("--gpu-architecture=", architecture);
  const std::array options{target.c_str(), "--std=c++20"};
  const auto result =
      nvrtc.compile(compilation.get(), static_cast<int>(options.size()), options.data());
  if (result == kInvalidOption)
    throw ResourceError(cat("NVRTC ", version(), " does not know GPUs of ", architecture,
                            "; install a newer CUDA build of libtorch, or use --device cpu"));
  if (result != kSuccess)
    throw std::logic_error(cat(source.name, ": ", nvrtc.error_text(result), "\n",
                               compilation.bytes(nvrtc.log_size, nvrtc.log).c_str()));
  Program program{compilation.bytes(nvrtc.code_size, nvrtc.code)};
  for (const auto& kernel : source.kernels) {
    const char* name = nullptr;
    nvrtc.check(nvrtc.lowered_name(compilation.get(), kernel.c_str(), &name), kernel.c_str());
    program.symbols[kernel] = name;
  }
  return program;
}

}  // namespace moe::kernels::cuda
