// The server's end of an RPC connection: one protobuf message a datagram (SOCK_SEQPACKET).
#pragma once

#include <sys/types.h>

#include "frontends/criu/engine.h"
#include "frontends/criu/options.h"
#include "frontends/criu/status.h"
#include "rpc.pb.h"

namespace criu {

class Work;

class RpcServer {
 public:
  // `defaults` are what configuration files have set. The socket stays the caller's.
  RpcServer(int socket, Engine& engine, const Options& defaults);

  // Serves requests until the client leaves, or one is answered after which the client waits for
  // our end. Returns the exit status.
  int serve();

 private:
  enum class Received { kMessage, kEnd, kBroken };
  enum class Next { kMore, kDone, kFailed };

  Received receive(std::string* bytes) const;
  Received receive(rpc::criu_req* request);
  bool send(const rpc::criu_resp& reply, int fd = -1) const;
  Next answer(const rpc::criu_req& request);
  Next reply(const rpc::criu_req& request, const Status& status, rpc::criu_resp reply);

  Status run(const rpc::criu_req& request, rpc::criu_resp* reply);
  Status run_with_images(const rpc::criu_req& request, rpc::criu_resp* reply);
  Status options_of(const rpc::criu_opts& opts, Options* options) const;
  Status check_features(const rpc::criu_req& request, rpc::criu_resp* reply);
  Status start_page_server(Work& work, bool child, rpc::criu_resp* reply);
  Status notify(const ncr_hook& hook);

  int socket_;
  Engine& engine_;
  const Options& defaults_;
  pid_t peer_ = 0;
};

}  // namespace criu
