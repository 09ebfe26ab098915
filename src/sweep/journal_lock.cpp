#include "moe/sweep/journal_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <thread>
#include <utility>

#include "moe/base/descriptor.h"
#include "moe/base/error.h"
#include "moe/base/interrupt.h"
#include "moe/base/system.h"
#include "moe/base/text.h"

namespace moe::sweep {

namespace fs = std::filesystem;

namespace {

constexpr std::chrono::milliseconds kFirstPause{1}, kLongestPause{50};

/// What a lock of ours holds; "" for Optuna's, which is a link to the journal.
std::string content_of(const fs::path& path) {
  std::error_code ignored;
  if (fs::is_symlink(path, ignored)) return "";
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The process that wrote `content`; nullopt for Optuna's locks and half-written ones.
std::optional<Identity> holder_in(const std::string& content) {
  try {
    return Identity::from_json(parse_json(content, "lock", ErrorKind::resource));
  } catch (const Error&) {
    return std::nullopt;
  }
}

bool is_dead(const std::string& content) {
  const auto holder = holder_in(content);
  return holder && !holder->may_live();
}

/// What changes when the lock passes on: the modification time of the file, or of what it links to
/// [s, ns]; 0 where it is gone.
using ModificationTime = std::pair<std::int64_t, std::int64_t>;
ModificationTime modification_time(const fs::path& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0 && ::lstat(path.c_str(), &status) != 0) return {};
  return {status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
}

/// Removes the lock where `is_left` still says that nobody has it. One at a time, or the second
/// would remove the lock that the first one's successor has made; by a rename, as Optuna does it,
/// so that of two machines, which may not see one another's flock, one fails.
template <class IsLeft>
void remove_left(const fs::path& path, const IsLeft& is_left) {
  const Descriptor guard(
      ::open((path.string() + "-takeover").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (guard.get() < 0 || ::flock(guard.get(), LOCK_EX) != 0 || !is_left()) return;
  const auto aside = cat(path.string(), Identity::mine().name(), ".rename");
  if (::rename(path.c_str(), aside.c_str()) == 0) ::unlink(aside.c_str());
}

/// Who has the lock, for people.
std::string holder_text(const fs::path& path) {
  if (const auto holder = holder_in(content_of(path)))
    return cat("pid ", holder->pid, " on ", holder->host);
  std::error_code ignored;
  return fs::is_symlink(path, ignored) ? "Optuna" : "another process";
}

/// A wait for a lock, which says so once it has become long.
class Wait {
 public:
  explicit Wait(const LongWait& options) : options_(options) {}

  void look(const fs::path& lock, double takeover_s) {
    if (!options_.say || monotonic_seconds() - began_ < options_.after_s) return;
    if (std::exchange(told_, true)) return;
    options_.say(cat(lock.string(), ": waiting for the lock, which ", holder_text(lock),
                     " has; it is taken over once it has stood still for ", takeover_s, " s"));
  }

 private:
  const LongWait& options_;
  double began_ = monotonic_seconds();
  bool told_ = false;
};

}  // namespace

JournalLock::JournalLock(const fs::path& journal, Patience patience, const LongWait& wait)
    : path_(journal.string() + ".lock") {
  static std::atomic<std::int64_t> taken = 0;
  auto note = Identity::mine().to_json();
  note["taking"] = ++taken;
  token_ = json_text(note);
  auto pause = kFirstPause;
  Wait waiting(wait);
  ModificationTime modified;
  auto unchanged_since = monotonic_seconds();
  const int signal_before = stop_signal();
  while (!try_take()) {
    // After it, whoever gives back what it holds still needs the journal.
    if (signal_before == 0 && stop_signal() != 0) throw Interrupted(stop_signal());
    if (is_dead(content_of(path_))) remove_left(path_, [&] { return is_dead(content_of(path_)); });
    const auto now = modification_time(path_);
    if (now != modified) unchanged_since = monotonic_seconds();
    modified = now;
    if (monotonic_seconds() - unchanged_since > patience.takeover_s) {
      remove_left(path_, [&] { return modification_time(path_) == modified; });
      unchanged_since = monotonic_seconds();
    }
    waiting.look(path_, patience.takeover_s);
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, kLongestPause);
  }
}

bool JournalLock::try_take() {
  const int file = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (file < 0 && errno == EEXIST) return false;
  if (file < 0)
    throw ResourceError(cat(path_.string(), ": the lock cannot be made: ", std::strerror(errno),
                            "; check the permissions and the disk"));
  const auto written = ::write(file, token_.data(), token_.size());
  ::close(file);
  if (written == static_cast<ssize_t>(token_.size())) return true;
  ::unlink(path_.c_str());
  throw ResourceError(
      cat(path_.string(), ": the lock cannot be written; free some space or write elsewhere"));
}

bool JournalLock::is_mine() const { return content_of(path_) == token_; }

JournalLock::~JournalLock() {
  if (is_mine()) ::unlink(path_.c_str());
}

}  // namespace moe::sweep
