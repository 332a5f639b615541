// fork() of libc is used, not clone3: it takes the locks of malloc first, so the child of a program
// with many threads can go on. The outcome comes back over a pipe, length first: the pipe's end
// tells nothing, because other children of the caller may hold it open.
#include "engine/tree/coordinator.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "engine/base/ids.h"
#include "engine/base/sys.h"
#include "engine/base/undo.h"

namespace ncr {
namespace {

constexpr int kMostForks = 10'000;
constexpr int kPollMs = 50;

struct OutcomeHeader {
  int32_t code;  // ErrorCode, -1: a report
  int32_t root_pid;
  uint32_t tasks;
  uint32_t threads;
  uint64_t pages_restored;
  uint32_t text_size;  // of the error, or of the phases, one a line
  uint32_t reserved;
};

std::string encode_phases(const std::vector<Phase>& phases) {
  std::string text;
  for (const Phase& phase : phases)
    text += strf("%llu %llu %s\n", static_cast<unsigned long long>(phase.start_ns),
                 static_cast<unsigned long long>(phase.duration_ns), phase.name.c_str());
  return text;
}

std::vector<Phase> decode_phases(const std::string& text) {
  std::vector<Phase> phases;
  for (size_t at = 0, end; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
    unsigned long long start = 0, duration = 0;
    int name = 0;
    std::string line = text.substr(at, end - at);
    if (std::sscanf(line.c_str(), "%llu %llu %n", &start, &duration, &name) == 2)
      phases.push_back({line.substr(static_cast<size_t>(name)), start, duration});
  }
  return phases;
}

[[noreturn]] void be_coordinator(pid_t caller, const Fd& out, const std::atomic<bool>& cancelled,
                                 const CoordinatorBody& body) {
  sigset_t all;
  sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != caller) ::_exit(1);
  std::string bytes = encode_outcome(body([&] { return cancelled.load(); }));
  (void)sys::write_all(out, bytes.data(), bytes.size());
  ::_exit(0);
}

// A fork whose number the tree needs is given up; the kernel hands out the next one (kernel/pid.c).
Result<pid_t> fork_avoiding(const std::function<bool(pid_t)>& avoid) {
  for (int tries = 0; tries < kMostForks; tries++) {
    pid_t pid = TRY(SYSCALL(::fork(), "fork of the coordinator"));
    if (pid == 0 && avoid(::getpid())) ::_exit(0);
    if (pid == 0 || !avoid(pid)) return pid;
    (void)SYSCALL(::waitpid(pid, nullptr, __WALL), "waitpid");
  }
  return Error::system(EAGAIN, "no process number outside the image is left for the coordinator");
}

Result<std::string> receive(const Fd& in, const Fd& coordinator, const RestoreRequest& request,
                            std::atomic<bool>& cancel) {
  std::string bytes;
  for (;;) {
    if (request.callbacks.cancelled && request.callbacks.cancelled()) cancel.store(true);
    pollfd wait[2] = {{in.get(), POLLIN, 0}, {coordinator.get(), POLLIN, 0}};
    TRY(SYSCALL(::poll(wait, 2, request.callbacks.cancelled ? kPollMs : -1), "poll"));
    if ((wait[0].revents & POLLIN) != 0) {
      char part[4096];
      ssize_t got = TRY(SYSCALL(::read(in.get(), part, sizeof part), "read from the coordinator"));
      bytes.append(part, static_cast<size_t>(got));
      OutcomeHeader header;
      if (bytes.size() < sizeof header) continue;
      std::memcpy(&header, bytes.data(), sizeof header);
      if (bytes.size() >= sizeof header + header.text_size) return bytes;
    } else if (wait[1].revents != 0 || wait[0].revents != 0) {
      return Error::gone("the process that was making the tree died; nothing of the tree is left");
    }
  }
}

}  // namespace

std::string encode_outcome(const Result<RestoreReport>& outcome) {
  OutcomeHeader header{};
  std::string text;
  if (outcome.ok()) {
    const RestoreReport& report = outcome.value();
    header = {-1, report.root_pid, report.tasks, report.threads, report.pages_restored, 0, 0};
    text = encode_phases(report.phases);
  } else {
    header.code = static_cast<int32_t>(outcome.error().code());
    text = outcome.error().text();
  }
  header.text_size = static_cast<uint32_t>(text.size());
  return std::string(reinterpret_cast<const char*>(&header), sizeof header) + text;
}

Result<RestoreReport> decode_outcome(const std::string& bytes) {
  OutcomeHeader header;
  if (bytes.size() < sizeof header) return Error::gone("the coordinator's answer is cut short");
  std::memcpy(&header, bytes.data(), sizeof header);
  std::string text = bytes.substr(sizeof header);
  if (header.code >= 0) return Error(static_cast<ErrorCode>(header.code), text);
  RestoreReport report;
  report.root_pid = header.root_pid;
  report.tasks = header.tasks;
  report.threads = header.threads;
  report.pages_restored = header.pages_restored;
  report.phases = decode_phases(text);
  return report;
}

Result<RestoreReport> run_coordinator(const RestoreRequest& request,
                                      const std::function<bool(pid_t)>& avoid,
                                      const CoordinatorBody& body) {
  void* shared =
      ::mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return Error::system(ENOMEM, "mmap of a page");
  Undo unmap([&] { ::munmap(shared, kPageSize); });
  auto* cancel = new (shared) std::atomic<bool>(false);
  int ends[2];
  TRY(SYSCALL(::pipe2(ends, O_CLOEXEC), "pipe"));
  Fd in(ends[0]), out(ends[1]);
  pid_t caller = ::getpid();
  pid_t coordinator = TRY(fork_avoiding(avoid));
  if (coordinator == 0) be_coordinator(caller, out, *cancel, body);
  out.close();
  Fd pidfd = TRY(sys::pidfd_open(coordinator));
  Result<std::string> bytes = receive(in, pidfd, request, *cancel);
  if (!bytes.ok()) ::kill(coordinator, SIGKILL);
  (void)SYSCALL(::waitpid(coordinator, nullptr, __WALL), "waitpid");
  return decode_outcome(TRY(std::move(bytes)));
}

}  // namespace ncr
