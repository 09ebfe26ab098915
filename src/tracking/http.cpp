#include "tracking/http.h"

#include <httplib.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <fstream>

#include "moe/base/text.h"

namespace moe::tracking {

namespace {

using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

constexpr seconds kConnect{3}, kSilence{10};  // longest wait for a connection; between two bytes
constexpr seconds kAnswer{30};                // longest time for the body of an answer
constexpr std::size_t kLongestAnswer = std::size_t{4} << 20;  // [bytes]

std::string reason(httplib::Error error) {
  switch (error) {
    case httplib::Error::Connection:
      return "no connection";
    case httplib::Error::ConnectionTimeout:
      return "no connection in time";
    case httplib::Error::Read:
      return "no answer, or not in time";
    case httplib::Error::Write:
      return "the connection broke";
    case httplib::Error::Canceled:
      return "the answer was too long, or ended too late";
    case httplib::Error::SSLServerVerification:
    case httplib::Error::SSLLoadingCerts:
      return "its certificate is not trusted";
    default:
      return httplib::to_string(error);
  }
}

/// %XX as the byte that it stands for; what is none stays.
std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned char byte = 0;
    const auto* digits = text.data() + i + 1;
    const bool is_escape = text[i] == '%' && i + 2 < text.size() &&
                           std::from_chars(digits, digits + 2, byte, 16).ptr == digits + 2;
    out += is_escape ? static_cast<char>(byte) : text[i];
    if (is_escape) i += 2;
  }
  return out;
}

class HttplibClient : public Http {
 public:
  HttplibClient(const HttpAddress& address, const HttpLogin& login) : client_(address.origin) {
    client_.set_connection_timeout(kConnect);
    client_.set_read_timeout(kSilence);
    client_.set_write_timeout(kSilence);
    client_.set_keep_alive(true);
    if (!login.token.empty())
      client_.set_bearer_token_auth(login.token);
    else if (!login.user.empty())
      client_.set_basic_auth(login.user, login.password);
#ifdef CPPHTTPLIB_OPENSSL_SUPPORT
    client_.enable_server_certificate_verification(!login.any_certificate);
    if (!login.certificates.empty()) client_.set_ca_cert_path(login.certificates);
#endif
  }

  HttpReply send(const HttpRequest& request) override {
    if (cancelled_) throw HttpFailure("given up");
    HttpReply reply;
    httplib::Request raw;
    raw.method = request.method;
    raw.path = request.path;
    if (request.file)
      stream(*request.file, raw);
    else
      raw.body = request.body;
    if (request.method != "GET")
      raw.set_header("Content-Type",
                     request.file ? "application/octet-stream" : "application/json");
    const auto end = Clock::now() + kAnswer;
    raw.content_receiver = [&](const char* bytes, std::size_t count, std::uint64_t, std::uint64_t) {
      if (reply.body.size() + count > kLongestAnswer || Clock::now() > end) return false;
      reply.body.append(bytes, count);
      return true;
    };
    const auto result = client_.send(raw);
    if (cancelled_) throw HttpFailure("given up");  // nobody may be left to hear of the answer
    if (!result) throw HttpFailure(reason(result.error()));
    reply.status = result->status;
    reply.location = result->get_header_value("Location");
    return reply;
  }

  void cancel() override {
    cancelled_ = true;
    client_.stop();
  }

 private:
  /// A file as the body, read piece by piece: checkpoints may be larger than the memory left.
  static void stream(const std::filesystem::path& path, httplib::Request& raw) {
    const auto file = std::make_shared<std::ifstream>(path, std::ios::binary);
    std::error_code error;
    const auto size = std::filesystem::file_size(path, error);
    if (error || !*file) throw HttpFailure(cat(path.string(), " cannot be read"));
    raw.content_length_ = size;
    raw.content_provider_ = [file](std::size_t offset, std::size_t length,
                                   httplib::DataSink& sink) {
      std::string piece(std::min(length, std::size_t{1} << 18U), '\0');
      file->seekg(static_cast<std::streamoff>(offset));
      file->read(piece.data(), static_cast<std::streamsize>(piece.size()));
      const auto count = static_cast<std::size_t>(file->gcount());
      return count > 0 && sink.write(piece.data(), count);
    };
  }

  httplib::Client client_;
  std::atomic<bool> cancelled_ = false;
};

}  // namespace

std::optional<HttpAddress> parse_address(std::string_view uri) {
  const auto scheme = uri.find("://");
  if (scheme == std::string_view::npos) return std::nullopt;
  const auto kind = uri.substr(0, scheme);
  if (kind != "http" && kind != "https") return std::nullopt;
  const auto rest = uri.substr(scheme + 3);
  const auto slash = std::min(rest.find('/'), rest.size());
  auto host = rest.substr(0, slash);
  HttpAddress address;
  if (const auto at = host.rfind('@'); at != std::string_view::npos) {
    const auto login = host.substr(0, at);
    const auto colon = std::min(login.find(':'), login.size());
    address.user = percent_decoded(login.substr(0, colon));
    if (colon < login.size()) address.password = percent_decoded(login.substr(colon + 1));
    host.remove_prefix(at + 1);
  }
  if (host.empty()) return std::nullopt;
  address.origin = cat(kind, "://", host);
  address.path = rest.substr(slash);
  while (address.path.ends_with('/')) address.path.pop_back();
  return address;
}

std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kPlain =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const auto byte : text) {
    if (kPlain.find(byte) != std::string_view::npos) {
      out += byte;
      continue;
    }
    const auto value = static_cast<unsigned char>(byte);
    out += {'%', kHex[value >> 4U], kHex[value & 15U]};
  }
  return out;
}

std::unique_ptr<Http> connect(const HttpAddress& address, const HttpLogin& login) {
  auto wanted = login;
  if (wanted.user.empty()) {
    wanted.user = address.user;
    wanted.password = address.password;
  }
  try {
    return std::make_unique<HttplibClient>(address, wanted);
  } catch (const std::invalid_argument&) {  // https without OpenSSL, an address it cannot take
    throw HttpFailure("this build cannot call such an address");
  }
}

}  // namespace moe::tracking
