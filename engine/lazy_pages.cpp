// Runs on its own, beside a restore. Two processes: the guardian, which is the caller, and the
// pager, its child. The kernel unregisters the memory of a userfaultfd whose last descriptor is
// closed, and what was not delivered then reads as zeroes. So both hold all of them: if the pager
// dies, the guardian kills the tree before it lets go; if the guardian dies, the pager goes on.
#include "engine/lazy_pages.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <unordered_map>

#include "engine/base/undo.h"
#include "engine/memory/lazy_handover.h"
#include "engine/page_server.h"
#include "engine/tree/process_table.h"

namespace ncr {
namespace {

using lazy_wire::Kind;
using lazy_wire::Message;
using lazy_wire::Received;

constexpr int kPollMs = 100;

// A task of the restored tree, as it announced itself.
struct Client {
  const LazyTask* task;
  pid_t pid;  // as we number it
  Fd uffd;
  Fd pidfd;

  Result<long> send(int signal) const {
    return SYSCALL(::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0),
                   "signal task %d", pid);
  }
};

void answer(const Fd& connection, Kind kind, const std::string& text = "") {
  Message message{kind, 0, 0, 0, {}};
  message.size = static_cast<uint32_t>(std::min(text.size(), sizeof message.text));
  std::memcpy(message.text, text.data(), message.size);
  // Whoever has hung up is noticed at the next message.
  (void)lazy_wire::send(connection.get(), message).ok();
}

// From a restore's connection to its tree being ours.
class Reception {
 public:
  Reception(const Image& image, const std::vector<LazyTask>& tasks) : image_(image) {
    for (const LazyTask& task : tasks) wanted_[task.pid] = &task;
  }

  Result<std::vector<Client>> receive(const Fd& connection) {
    for (;;) {
      Received received = TRY(lazy_wire::receive(connection.get()));
      Result<bool> done = take(received);
      if (!done.ok()) {
        answer(connection, Kind::kError, done.error().text());
        return done.take_error();
      }
      if (received.message.kind != Kind::kTask) answer(connection, Kind::kOk);
      if (done.value()) return std::move(clients_);
    }
  }

 private:
  // True: that was the last message.
  Result<bool> take(Received& received) {
    const Message& message = received.message;
    switch (message.kind) {
      case Kind::kHello:
        if (std::string(message.text, message.size) != image_.inventory.uuid())
          return Error::usage("the daemon of lazy pages serves another image");
        return false;
      case Kind::kTask:
        TRY(add(received));
        return false;
      case Kind::kStart:
        TRY(start(static_cast<size_t>(message.number)));
        return true;
      default:
        return Error::malformed("a message that is none");
    }
  }

  Result<> add(Received& received) {
    tasks_++;
    auto found = wanted_.find(received.message.number);
    if (found == wanted_.end()) return {};  // it has no page that is lazy
    if (!received.fd.valid()) return Error::malformed("a task without its userfaultfd");
    TRY(begin_userfaultfd(received.fd));
    Fd pidfd = TRY(sys::pidfd_open(received.sender));
    clients_.push_back({found->second, received.sender, std::move(received.fd), std::move(pidfd)});
    wanted_.erase(found);
    return {};
  }

  Result<> start(size_t tasks) {
    if (tasks != tasks_ || !wanted_.empty())
      return Error(ErrorCode::kSystem,
                   strf("%zu tasks gave their memory away, not %zu", tasks_, tasks));
    for (const Client& client : clients_) TRY(register_lazy(client.uffd, client.pid, *client.task));
    return {};
  }

  const Image& image_;
  std::unordered_map<int32_t, const LazyTask*> wanted_;
  std::vector<Client> clients_;
  size_t tasks_ = 0;
};

// What the pager leaves to the guardian, in memory that both have.
struct Outcome {
  PagerReport report;
  int32_t code;  // ErrorCode, -1: none
  char text[512];
};

[[noreturn]] void be_pager(const PageSource& source, std::vector<Client> clients, int guardian,
                           Outcome* outcome) {
  Pager pager(source, guardian);
  for (Client& client : clients) pager.add(std::move(client.uffd), *client.task);
  Result<> done = pager.run();
  outcome->report = pager.report();
  if (done.ok()) ::_exit(0);
  outcome->code = static_cast<int32_t>(done.error().code());
  std::strncpy(outcome->text, done.error().text().c_str(), sizeof outcome->text - 1);
  ::_exit(1);
}

class Guardian {
 public:
  explicit Guardian(std::vector<Client> clients) : clients_(std::move(clients)) {}

  Result<PagerReport> guard(const PageSource& source) {
    void* shared =
        ::mmap(nullptr, sizeof(Outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return Error::system(ENOMEM, "mmap of the pager's outcome");
    auto* outcome = static_cast<Outcome*>(shared);
    Undo unmap([&] { ::munmap(shared, sizeof(Outcome)); });
    outcome->code = -1;
    int ends[2];
    TRY(SYSCALL(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair"));
    Fd ours(ends[0]), theirs(ends[1]);
    const pid_t pager = TRY(SYSCALL(::fork(), "fork of the pager"));
    if (pager == 0) {
      ours = Fd();
      be_pager(source, std::move(clients_), theirs.get(), outcome);
    }
    theirs = Fd();
    while (take_child(ours)) continue;
    int status = 0;
    TRY(SYSCALL(::waitpid(pager, &status, __WALL), "waitpid of the pager"));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return outcome->report;
    kill_tree();
    const std::string why = outcome->code >= 0
                                ? std::string(outcome->text)
                                : strf("its pager was killed by signal %d", WTERMSIG(status));
    return Error(outcome->code >= 0 ? static_cast<ErrorCode>(outcome->code) : ErrorCode::kGone,
                 "the restored tree could not get its memory, and was killed: " + why);
  }

 private:
  // The userfaultfd of a process that was forked meanwhile; false when the pager has hung up.
  bool take_child(const Fd& socket) {
    char byte;
    iovec data{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr header{};
    header.msg_iov = &data;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    Result<ssize_t> got =
        SYSCALL(::recvmsg(socket.get(), &header, MSG_CMSG_CLOEXEC), "receive from the pager");
    if (!got.ok() || got.value() <= 0) return false;
    const cmsghdr* rights = CMSG_FIRSTHDR(&header);
    if (rights != nullptr && rights->cmsg_type == SCM_RIGHTS) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(rights), sizeof fd);
      children_.emplace_back(fd);
    }
    return true;
  }

  // Before the userfaultfds are closed: who waits for a page dies waiting. Twice, for a process may
  // have been forking.
  void kill_tree() const {
    for (int round = 0; round < 2; round++) {
      ProcessTable processes;
      (void)processes.scan().ok();
      for (const Client& client : clients_) {
        if (!client.send(SIGSTOP).ok()) continue;
        for (const proc::Stat* stat : tree_below(processes.stats(), client.pid))
          ::kill(stat->pid, SIGKILL);
      }
    }
    for (const Client& client : clients_) (void)client.send(SIGKILL).ok();
  }

  std::vector<Client> clients_;
  std::vector<Fd> children_;
};

Result<Fd> duplicate(int fd) {
  if (fd < 0) return Fd();
  return Fd(TRY(SYSCALL(::fcntl(fd, F_DUPFD_CLOEXEC, 0), "socket %d", fd)));
}

}  // namespace

Result<PagerReport> serve_lazy_pages(const LazyPagesRequest& request) {
  Image image = TRY(Image::open(request.images_dir, PageCheck::kVerify));
  TRY(refuse_memory_only(image));
  const std::vector<LazyTask> tasks = take_lazy_pages(&image);
  Fd server = TRY(duplicate(request.page_server));
  const PageSource source = TRY(PageSource::open(image, std::move(server)));
  const std::string path = request.socket_path.empty() ? request.images_dir + "/" + kLazyPagesSocket
                                                       : request.socket_path;
  Fd listener = TRY(lazy_wire::listen_at(path));
  Undo remove([&] { (void)::unlink(path.c_str()); });
  TRY(say_ready(request.status_fd));
  Fd connection = TRY(page_wire::accept_one(listener, request.callbacks.cancelled));
  std::vector<Client> clients = TRY(Reception(image, tasks).receive(connection));
  // The tree waits for us from here on; whatever happens, it gets all of its memory or dies.
  return Guardian(std::move(clients)).guard(source);
}

}  // namespace ncr
