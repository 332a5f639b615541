// One connection of `criu swrk` or `criu service`. Runs in the process the client started or that
// the service forked for it; a restore calls notify() in a fork of that, through the same socket.
#include "frontends/criu/rpc_server.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "frontends/criu/config_file.h"
#include "frontends/criu/features.h"
#include "frontends/criu/rpc_options.h"
#include "frontends/criu/work.h"

namespace criu {
namespace {

constexpr size_t kLargestRequest = 4 << 20;
constexpr size_t kLongestError = 4000;  // go-criu reads 8192 bytes
constexpr char kDefaultLog[] = "criu.log";
constexpr int kMajor = 4;
constexpr int kMinor = 2;

// After these a client waits for our end, unless it said that it goes on.
bool ends_connection(rpc::criu_req_type type) {
  switch (type) {
    case rpc::PRE_DUMP:
    case rpc::VERSION:
    case rpc::FEATURE_CHECK:
      return false;
    default:
      return true;
  }
}

bool is_served(rpc::criu_req_type type) {
  return type != rpc::EMPTY && type != rpc::NOTIFY && type != rpc::CPUINFO_DUMP &&
         type != rpc::CPUINFO_CHECK;
}

std::string descriptor_of(pid_t process, int fd) {
  return "/proc/" + std::to_string(process) + "/fd/" + std::to_string(fd);
}

void put_version(rpc::criu_resp* reply) {
  rpc::criu_version* version = reply->mutable_version();
  version->set_major_number(kMajor);
  version->set_minor_number(kMinor);
  version->set_name("nativecr " NCR_VERSION);
}

}  // namespace

RpcServer::RpcServer(int socket, Engine& engine, const Options& defaults)
    : socket_(socket), engine_(engine), defaults_(defaults) {}

RpcServer::Received RpcServer::receive(std::string* bytes) const {
  char none = 0;
  ssize_t size = 0;
  do {
    size = ::recv(socket_, &none, 1, MSG_PEEK | MSG_TRUNC);
  } while (size < 0 && errno == EINTR);
  if (size == 0) return Received::kEnd;
  if (size < 0 || static_cast<size_t>(size) > kLargestRequest) return Received::kBroken;
  bytes->resize(static_cast<size_t>(size));
  const ssize_t got = ::recv(socket_, bytes->data(), bytes->size(), 0);
  return got == size ? Received::kMessage : Received::kBroken;
}

RpcServer::Received RpcServer::receive(rpc::criu_req* request) {
  std::string bytes;
  const Received received = receive(&bytes);
  if (received != Received::kMessage) return received;
  // ParseFromString() would tell standard error, which may be a container's.
  const bool whole = request->ParsePartialFromString(bytes) && request->IsInitialized();
  return whole ? Received::kMessage : Received::kBroken;
}

bool RpcServer::send(const rpc::criu_resp& reply, int fd) const {
  std::string bytes = reply.SerializeAsString();
  iovec part{bytes.data(), bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  return ::sendmsg(socket_, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

int RpcServer::serve() {
  for (;;) {
    rpc::criu_req request;
    const Received received = receive(&request);
    if (received == Received::kEnd) return 0;
    if (received == Received::kBroken) {
      request.Clear();
      request.set_type(rpc::EMPTY);
      (void)reply(request, Status::bad_option("the message is no criu_req"), {});
      return 1;
    }
    const Next next = answer(request);
    if (next == Next::kFailed) return 1;
    if (next == Next::kDone) return 0;
  }
}

RpcServer::Next RpcServer::answer(const rpc::criu_req& request) {
  if (!is_served(request.type()))
    return reply(
        request,
        Status::fail("request " + rpc::criu_req_type_Name(request.type()) + " is not supported"),
        {});
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket_, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0) peer_ = peer.pid;
  rpc::criu_resp made;
  const Status status = run(request, &made);
  return reply(request, status, std::move(made));
}

RpcServer::Next RpcServer::reply(const rpc::criu_req& request, const Status& status,
                                 rpc::criu_resp made) {
  made.set_type(is_served(request.type()) ? request.type() : rpc::EMPTY);
  made.set_success(status.ok());
  if (!status.ok()) {
    rpc::criu_resp failure;
    failure.set_type(made.type());
    failure.set_success(false);
    if (status.number != 0) failure.set_cr_errno(status.number);
    failure.set_cr_errmsg(status.error.substr(0, kLongestError));
    made = std::move(failure);
  }
  const bool sent = send(made);
  if (!sent || !status.ok()) return Next::kFailed;
  return request.keep_open() || !ends_connection(request.type()) ? Next::kMore : Next::kDone;
}

Status RpcServer::run(const rpc::criu_req& request, rpc::criu_resp* reply) {
  switch (request.type()) {
    case rpc::VERSION:
      put_version(reply);
      return {};
    case rpc::FEATURE_CHECK:
      return check_features(request, reply);
    case rpc::CHECK: {
      const Answer answer = engine_.check();
      return answer.status == NCR_OK ? Status() : Status::fail(answer.error);
    }
    case rpc::WAIT_PID: {
      int status = 0;
      if (::waitpid(static_cast<pid_t>(request.pid()), &status, 0) < 0)
        return Status::system("wait for process " + std::to_string(request.pid()), errno);
      reply->set_status(status);
      return {};
    }
    default:
      return run_with_images(request, reply);
  }
}

Status RpcServer::check_features(const rpc::criu_req& request, rpc::criu_resp* reply) {
  const rpc::criu_features& asked = request.features();
  rpc::criu_features* features = reply->mutable_features();
  if (asked.has_mem_track()) features->set_mem_track(has_feature("mem_dirty_track", engine_));
  if (asked.has_lazy_pages()) features->set_lazy_pages(has_feature("uffd-noncoop", engine_));
  if (asked.has_pidfd_store()) features->set_pidfd_store(has_feature("pidfd_store", engine_));
  return {};
}

// The client's numbers of descriptors mean something in the client only.
Status RpcServer::options_of(const rpc::criu_opts& opts, Options* options) const {
  *options = defaults_;
  if (options->log_file.empty()) options->log_file = kDefaultLog;
  if (opts.images_dir_fd() >= 0)
    options->images_dir = descriptor_of(peer_, opts.images_dir_fd());
  else if (!opts.images_dir().empty())
    options->images_dir = opts.images_dir();
  else if (options->images_dir == Options().images_dir)
    return Status::bad_option("neither images_dir_fd nor images_dir names an images directory");
  if (opts.has_work_dir_fd() && opts.work_dir_fd() >= 0)
    options->work_dir = descriptor_of(peer_, opts.work_dir_fd());
  if (opts.has_status_fd() && opts.status_fd() >= 0) {
    const std::string path = descriptor_of(peer_, opts.status_fd());
    options->status_fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (options->status_fd < 0) return Status::system("open status_fd " + path, errno);
  }
  Status applied = apply_rpc_options(opts, *options);
  if (applied.ok() && !opts.config_file().empty())
    applied = apply_config_file(opts.config_file(), IfMissing::kIgnore, *options);
  return applied;
}

Status RpcServer::run_with_images(const rpc::criu_req& request, rpc::criu_resp* reply) {
  Options options;
  Status status = options_of(request.opts(), &options);
  if (!status.ok()) return status;
  Notifier notifier;
  if (request.opts().notify_scripts())
    notifier = [this](const ncr_hook& hook) { return notify(hook); };
  Work work(engine_, std::move(options), std::move(notifier));
  status = work.open();
  if (!status.ok()) return status;
  switch (request.type()) {
    case rpc::DUMP:
      reply->mutable_dump()->set_restored(false);
      return work.dump();
    case rpc::PRE_DUMP:
    case rpc::SINGLE_PRE_DUMP:
      return work.predump();
    case rpc::RESTORE: {
      pid_t root = 0;
      status = work.restore(&root);
      reply->mutable_restore()->set_pid(root);
      return status;
    }
    default:
      return start_page_server(work, request.type() == rpc::PAGE_SERVER_CHLD, reply);
  }
}

// The page server is a process of its own, so that its client is told where it listens before it
// has anything to do. One that is no child of ours (PAGE_SERVER) outlives us in a session of its
// own.
Status RpcServer::start_page_server(Work& work, bool child, rpc::criu_resp* reply) {
  Descriptor listening;
  int port = 0;
  const bool is_connected = work.options().page_server_fd >= 0;
  Status ready;
  if (is_connected)
    listening = Descriptor(::fcntl(work.options().page_server_fd, F_DUPFD_CLOEXEC, 3));
  else
    ready = listen_for_pages(work.options(), &listening, &port);
  if (!ready.ok()) return ready;
  const pid_t pid = ::fork();
  if (pid < 0) return Status::system("fork a page server", errno);
  if (pid == 0) {
    if (!child) ::setsid();
    ::close(socket_);
    ::_exit(work.page_server(listening.get()).ok() ? 0 : 1);
  }
  reply->mutable_ps()->set_pid(pid);
  reply->mutable_ps()->set_port(port);
  return {};
}

Status RpcServer::notify(const ncr_hook& hook) {
  rpc::criu_resp question;
  question.set_type(rpc::NOTIFY);
  question.set_success(true);
  question.mutable_notify()->set_script(hook.name);
  if (hook.pid > 0) question.mutable_notify()->set_pid(hook.pid);
  rpc::criu_req answer;
  if (!send(question, hook.fd) || receive(&answer) != Received::kMessage)
    return Status::fail(std::string("the client left at ") + hook.name);
  if (answer.type() != rpc::NOTIFY)
    return Status::fail(std::string("the client answered ") + hook.name + " with a request");
  if (!answer.notify_success())
    return Status::fail(std::string("the client refused to go on at ") + hook.name);
  return {};
}

}  // namespace criu
