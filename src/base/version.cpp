#include "moe/base/version.h"

#include "moe_version.h"

namespace moe {

std::string_view version() { return MAKEMOE_VERSION; }
std::string_view commit() { return MAKEMOE_COMMIT; }
#ifdef __clang__
std::string_view compiler() { return __VERSION__; }
#else
std::string_view compiler() { return "gcc " __VERSION__; }
#endif

}  // namespace moe
