#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace moe::tracking {

/// http(s)://[USER:PASSWORD@]HOST[:PORT][/PATH], taken apart.
struct HttpAddress {
  std::string origin;  // "https://host:5000": what may be shown
  std::string path;    // "" or "/path", without a slash at the end
  std::string user, password;
};

/// nullopt for anything else.
std::optional<HttpAddress> parse_address(std::string_view uri);

/// Every byte but letters, digits and -._~ as %XX.
std::string percent_encoded(std::string_view text);

struct HttpRequest {
  std::string method, path, body;
  std::optional<std::filesystem::path> file = {};  // sent instead of `body`
};
struct HttpReply {
  int status = 0;
  std::string body;
  std::string location = {};  // of a redirection: where to, as the server says it
};

/// No answer: not reached, refused, reset, timed out, too long. Says why.
struct HttpFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// One server, one request after another.
class Http {
 public:
  virtual ~Http() = default;
  /// Throws HttpFailure. Bounded in time and in the size of the answer.
  virtual HttpReply send(const HttpRequest& request) = 0;
  /// From any thread: ends the request that runs, and fails all later ones.
  virtual void cancel() = 0;
};

struct HttpLogin {
  std::string user, password, token;  // the token, where there is one, else user and password
  bool any_certificate = false;       // https: the server's certificate is not checked
  std::string certificates;           // https: file of trusted ones; "": the system's
};

std::unique_ptr<Http> connect(const HttpAddress& address, const HttpLogin& login);

}  // namespace moe::tracking
