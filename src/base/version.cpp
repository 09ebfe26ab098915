#include "moe/base/version.h"

#if __has_include("moe_version.h")
#include "moe_version.h"
#endif
// Builds outside CMake (one file by hand, a fuzzer) have no generated header.
#ifndef MAKEMOE_VERSION
#define MAKEMOE_VERSION "unknown"
#endif
#ifndef MAKEMOE_COMMIT
#define MAKEMOE_COMMIT "unknown"
#endif

namespace moe {

std::string_view version() { return MAKEMOE_VERSION; }
std::string_view commit() { return MAKEMOE_COMMIT; }
#ifdef __clang__
std::string_view compiler() { return __VERSION__; }  // begins with "Clang"
#else
std::string_view compiler() { return "gcc " __VERSION__; }
#endif

}  // namespace moe
