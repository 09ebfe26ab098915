#pragma once

#include <stdexcept>
#include <string>

namespace moe {

/// What kind of mistake an error is; each kind has one exit code (docs/formats.md, "Exit codes").
enum class ErrorKind {
  config = 2,      // usage or configuration
  data = 3,        // text, tokenizer or prompt
  checkpoint = 4,  // checkpoint or weights file: missing, damaged, mismatched
  numerics = 5,    // loss or gradient not finite
  resource = 6,    // memory, disk, device, a server, or a folder in use
};

/// Something the user can mend: a file, a key, a flag, a full disk. The text is one message:
/// "<where>: <what is wrong, with the value>; <what to do>".
/// Bugs are not Errors: broken invariants go through TORCH_CHECK or std::logic_error.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const noexcept { return kind_; }
  int exit_code() const noexcept { return static_cast<int>(kind_); }

 private:
  ErrorKind kind_;
};

/// One class per kind, so that a throw says in its name what is wrong.
template <ErrorKind Kind>
class ErrorOf : public Error {
 public:
  explicit ErrorOf(const std::string& message) : Error(Kind, message) {}
};
using ConfigError = ErrorOf<ErrorKind::config>;
using DataError = ErrorOf<ErrorKind::data>;
using CheckpointError = ErrorOf<ErrorKind::checkpoint>;
using NumericsError = ErrorOf<ErrorKind::numerics>;
using ResourceError = ErrorOf<ErrorKind::resource>;

/// Throws the class of `kind`.
[[noreturn]] inline void throw_error(ErrorKind kind, const std::string& message) {
  switch (kind) {
    case ErrorKind::config:
      throw ConfigError(message);
    case ErrorKind::data:
      throw DataError(message);
    case ErrorKind::checkpoint:
      throw CheckpointError(message);
    case ErrorKind::numerics:
      throw NumericsError(message);
    case ErrorKind::resource:
      throw ResourceError(message);
  }
  throw std::logic_error("no such kind of error: " + message);
}

/// Work ended early by a signal that asks to stop, after saving; main turns it into exit code 128 +
/// signal.
class Interrupted : public std::runtime_error {
 public:
  explicit Interrupted(int signal) : std::runtime_error("interrupted"), signal_(signal) {}
  int signal() const noexcept { return signal_; }

 private:
  int signal_;
};

}  // namespace moe
