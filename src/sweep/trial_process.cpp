#include "sweep/trial_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>
#include <utility>

#include "moe/base/descriptor.h"
#include "moe/base/error.h"
#include "moe/base/interrupt.h"
#include "moe/base/system.h"
#include "moe/base/text.h"

extern char** environ;

namespace moe::sweep {

namespace fs = std::filesystem;

namespace {

constexpr double kGrace = 60;  // [s] to finish a step and save

std::vector<std::string> environment_with(
    const std::vector<std::pair<std::string, std::string>>& changes) {
  std::map<std::string, std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const auto equals = text.find('=');
    all[text.substr(0, equals)] = equals == std::string::npos ? "" : text.substr(equals + 1);
  }
  for (const auto& [name, value] : changes) all[name] = value;
  std::vector<std::string> out;
  out.reserve(all.size());
  for (const auto& [name, value] : all) out.push_back(cat(name, "=", value));
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  out.reserve(texts.size() + 1);
  for (auto& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

/// In the child, between fork and exec: only what a signal handler may do as well.
[[noreturn]] void become(char** arguments, char** environment, int messages, int nothing,
                         pid_t parent, int failure) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // it died before the line above
  // Not our handlers; but what nohup has us ignore it ignores as well.
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGXCPU, SIGUSR1, SIGUSR2}) {
    struct sigaction action = {};
    if (::sigaction(number, nullptr, &action) == 0 && action.sa_handler != SIG_IGN)
      ::signal(number, SIG_DFL);
  }
  for (const int number : {SIGPIPE, SIGXFSZ}) ::signal(number, SIG_DFL);
  // SIGUSR1 waits until the program is ready for it, and cannot end it before.
  sigset_t blocked;
  ::sigemptyset(&blocked);
  ::sigaddset(&blocked, SIGUSR1);
  ::sigprocmask(SIG_SETMASK, &blocked, nullptr);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(nothing, STDOUT_FILENO);
  ::dup2(messages, STDERR_FILENO);
  ::execve(arguments[0], arguments, environment);
  const int error = errno;
  if (::write(failure, &error, sizeof error) < 0) ::_exit(126);
  ::_exit(127);
}

int opened(const fs::path& path, int flags) {
  const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC, 0644);
  if (descriptor < 0)
    throw ResourceError(cat(path.string(), ": opening failed: ", std::strerror(errno),
                            "; check the path and the disk"));
  return descriptor;
}

[[noreturn]] void refuse_start(const std::string& program, int error) {
  throw ResourceError(cat(program, ": cannot be started: ", std::strerror(error),
                          "; check the program and the limits on processes"));
}

}  // namespace

TrialProcess::TrialProcess(const TrialCommand& command) {
  auto settings = command.environment;
  settings.emplace_back(kWorkerVariable, cat(::getpid()));
  auto arguments = command.arguments, environment = environment_with(settings);
  auto argument_pointers = pointers(arguments), environment_pointers = pointers(environment);
  const Descriptor messages(opened(command.messages, O_WRONLY | O_CREAT | O_APPEND));
  const Descriptor nothing(opened("/dev/null", O_RDWR));
  std::array<int, 2> failure{};
  if (::pipe2(failure.data(), O_CLOEXEC) != 0) refuse_start(arguments[0], errno);
  const auto parent = ::getpid();
  // A signal to the child before it is another program must not meet our handlers.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_ = ::fork();
  if (pid_ == 0)
    become(argument_pointers.data(), environment_pointers.data(), messages.get(), nothing.get(),
           parent, failure[1]);
  const int fork_error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::close(failure[1]);
  int error = 0;
  ssize_t told = 0;
  do told = pid_ < 0 ? 0 : ::read(failure[0], &error, sizeof error);
  while (told < 0 && errno == EINTR);
  ::close(failure[0]);
  if (pid_ < 0) refuse_start(arguments[0], fork_error);
  if (told != static_cast<ssize_t>(sizeof error)) return;  // exec closed the pipe: it runs
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
  refuse_start(arguments[0], error);
}

TrialProcess::~TrialProcess() {
  if (pid_ < 0) return;
  ::kill(-pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

std::optional<Exit> TrialProcess::poll() {
  int status = 0;
  const auto ended = ::waitpid(pid_, &status, WNOHANG);
  if (ended == 0) {
    if (told_at_ >= 0 && monotonic_seconds() - told_at_ > kGrace) ::kill(-pid_, SIGKILL);
    return std::nullopt;
  }
  pid_ = -1;
  if (ended < 0) return Exit{0, SIGKILL};
  if (WIFSIGNALED(status)) return Exit{0, WTERMSIG(status)};
  return Exit{WEXITSTATUS(status), 0};
}

void TrialProcess::stop() {
  if (told_at_ >= 0 || pid_ < 0) return;
  told_at_ = monotonic_seconds();
  ::kill(-pid_, SIGTERM);
}

void TrialProcess::save() {
  if (pid_ >= 0) ::kill(-pid_, SIGUSR1);
}

}  // namespace moe::sweep
