// libFuzzer's door to what the criu personality reads of others (./dev fuzz): a client's messages
// and configuration files. The first byte picks it. No engine runs behind it.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frontends/criu/config_file.h"
#include "frontends/criu/option_table.h"
#include "frontends/criu/rpc_options.h"
#include "frontends/criu/rpc_server.h"
#include "tests/frontends/criu/fake_engine.h"

namespace {

// Words that name files are not followed.
void parse_configuration(const std::string& text) {
  std::vector<std::string> arguments;
  std::vector<std::string> words;
  criu::Options options;
  if (criu::parse_config(text, &arguments).ok())
    (void)criu::parse_arguments(std::move(arguments), options, &words).ok();
}

void apply_options(const std::string& bytes) {
  criu::rpc::criu_opts opts;
  criu::Options options;
  if (opts.ParseFromString(bytes)) (void)criu::apply_rpc_options(opts, options).ok();
}

// A request that would make files is not for a machine that fuzzes.
bool is_harmless(const std::string& bytes) {
  criu::rpc::criu_req request;
  return !request.ParseFromString(bytes) || request.type() == criu::rpc::VERSION ||
         request.type() == criu::rpc::CHECK || request.type() == criu::rpc::EMPTY;
}

void serve(const std::string& bytes) {
  int ends[2];
  if (!is_harmless(bytes) || ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return;
  (void)::send(ends[0], bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  (void)::shutdown(ends[0], SHUT_WR);
  criu::FakeEngine engine;
  const criu::Options defaults;
  (void)criu::RpcServer(ends[1], engine, defaults).serve();
  ::close(ends[0]);
  ::close(ends[1]);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 3) {
    case 0:
      parse_configuration(text);
      return 0;
    case 1:
      apply_options(text);
      return 0;
    default:
      serve(text);
      return 0;
  }
}
