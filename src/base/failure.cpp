#include "base/failure.h"

#include <cerrno>
#include <cstring>
#include <string>

#include "moe/base/text.h"

namespace moe {

namespace {

std::string remedy_for(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return "free some space or write elsewhere";
    case EACCES:
    case EPERM:
    case EROFS:
      return "check the permissions or name another place";
    default:
      return "check the path and the disk";
  }
}

}  // namespace

void fail(std::string_view what, const std::filesystem::path& path, int error_number) {
  throw SystemFailure(cat(path.string(), ": ", what, " failed: ", std::strerror(error_number), "; ",
                          remedy_for(error_number)),
                      error_number);
}

bool is_unsupported(int error_number) {
  return error_number == EINVAL || error_number == ENOSYS || error_number == ENOTSUP ||
         error_number == EOPNOTSUPP || error_number == ENOLCK || error_number == ENOTTY;
}

}  // namespace moe
