// The client's end of an RPC connection whose server runs in a thread of the test.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "frontends/criu/rpc_server.h"

namespace criu {

class RpcClient {
 public:
  explicit RpcClient(Engine& engine, Options defaults = {}) : defaults_(std::move(defaults)) {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    socket_ = ends[0];
    server_ = std::thread([this, &engine, end = ends[1]] {
      exit_status_ = RpcServer(end, engine, defaults_).serve();
      ::close(end);
    });
  }
  ~RpcClient() { (void)finish(); }
  RpcClient(const RpcClient&) = delete;

  void send_bytes(const std::string& bytes) const {
    EXPECT_EQ(::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  void send(const rpc::criu_req& request) const { send_bytes(request.SerializePartialAsString()); }
  // False at the connection's end.
  bool receive(rpc::criu_resp* reply, int* fd = nullptr) const {
    char bytes[8192];  // go-criu's buffer
    iovec part{bytes, sizeof bytes};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t size = ::recvmsg(socket_, &message, MSG_CMSG_CLOEXEC);
    if (size <= 0) return false;
    EXPECT_EQ(message.msg_flags & MSG_TRUNC, 0);
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (fd != nullptr && header != nullptr) *fd = *reinterpret_cast<const int*>(CMSG_DATA(header));
    EXPECT_TRUE(reply->ParseFromArray(bytes, static_cast<int>(size)));
    return true;
  }
  rpc::criu_resp ask(const rpc::criu_req& request) const {
    send(request);
    rpc::criu_resp reply;
    EXPECT_TRUE(receive(&reply));
    return reply;
  }
  void acknowledge(bool success) const {
    rpc::criu_req answer;
    answer.set_type(rpc::NOTIFY);
    answer.set_notify_success(success);
    send(answer);
  }
  // Leaves, as a client does that has what it wanted; returns the server's exit status.
  int finish() {
    if (socket_ >= 0) ::shutdown(socket_, SHUT_WR);
    return wait();
  }
  int wait() {  // for a server that ends by itself
    if (server_.joinable()) server_.join();
    if (socket_ >= 0) ::close(socket_);
    socket_ = -1;
    return exit_status_;
  }

 private:
  int socket_ = -1;
  Options defaults_;
  int exit_status_ = -1;
  std::thread server_;
};

}  // namespace criu
