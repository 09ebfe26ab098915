// A driver without a GPU, under the names of NVIDIA's: it takes any code, and instead of starting a
// kernel it calls what a test has set.

#include <cstring>
#include <set>
#include <string>

extern "C" {

using FakeLaunch = void (*)(const char* symbol, unsigned blocks, unsigned threads, void* stream,
                            void** arguments);
static FakeLaunch fake_launch = nullptr;

void moe_set_fake_launch(FakeLaunch launch) { fake_launch = launch; }

int cuGetErrorName(int error, const char** name) {
  *name = error == 500 ? "CUDA_ERROR_NOT_FOUND" : nullptr;
  return *name != nullptr ? 0 : 1;
}
int cuCtxGetDevice(int* device) {
  *device = 3;
  return 0;
}
int cuDeviceGetAttribute(int* value, int attribute, int device) {
  if (device != 3) return 101;
  *value = attribute == 75 ? 9 : 0;
  return 0;
}
int cuModuleLoadData(void** module, const void* code) {
  static char loaded = 0;
  *module = std::memcmp(code, "\177ELF", 4) == 0 ? &loaded : nullptr;
  return *module != nullptr ? 0 : 200;
}
int cuModuleGetFunction(void** function, void* /*module*/, const char* symbol) {
  static std::set<std::string> symbols;  // nodes stay where they are
  if (std::strcmp(symbol, "nowhere") == 0) return 500;
  *function = const_cast<char*>(symbols.insert(symbol).first->c_str());
  return 0;
}
int cuLaunchKernel(void* function, unsigned blocks, unsigned /*y*/, unsigned /*z*/,
                   unsigned threads, unsigned /*ty*/, unsigned /*tz*/, unsigned /*shared*/,
                   void* stream, void** arguments, void** /*extra*/) {
  fake_launch(static_cast<const char*>(function), blocks, threads, stream, arguments);
  return 0;
}

}  // extern "C"
