// fork() of libc is used, not clone3: it takes the locks of malloc first, so the child of a program
// with many threads can go on. The outcome is left in shared memory, where nothing can go wrong any
// more: once the tree is released, that it could not be reported would be a lie about it.
#include "engine/tree/coordinator.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <new>
#include <utility>

#include "engine/base/ids.h"
#include "engine/base/sys.h"
#include "engine/base/undo.h"

namespace ncr {
namespace {

constexpr int kMostForks = 10'000;
constexpr int kPollMs = 50;

constexpr size_t kOutcomeRoom = 64 << 10;

struct Shared {
  std::atomic<bool> cancel;
  std::atomic<uint32_t> outcome_size;  // 0 until there is one
  char outcome[kOutcomeRoom];
};

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

[[noreturn]] void be_coordinator(pid_t caller, Shared& shared, const CoordinatorBody& body) {
  sigset_t all;
  sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != caller) ::_exit(1);
  const std::string bytes = encode_outcome(body([&] { return shared.cancel.load(); }));
  std::memcpy(shared.outcome, bytes.data(), bytes.size());
  shared.outcome_size.store(static_cast<uint32_t>(bytes.size()));
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

Result<> wait_for(const Fd& coordinator, const RestoreRequest& request, Shared& shared) {
  for (;;) {
    if (request.callbacks.cancelled && request.callbacks.cancelled()) shared.cancel.store(true);
    pollfd wait{coordinator.get(), POLLIN, 0};
    if (TRY(SYSCALL(::poll(&wait, 1, request.callbacks.cancelled ? kPollMs : -1), "poll")) > 0)
      return {};
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
  text.resize(std::min(text.size(), kOutcomeRoom - sizeof header));
  header.text_size = static_cast<uint32_t>(text.size());
  return std::string(reinterpret_cast<const char*>(&header), sizeof header) + text;
}

Result<RestoreReport> decode_outcome(const std::string& bytes) {
  OutcomeHeader header;
  if (bytes.size() < sizeof header)
    return Error::gone("the process that was making the tree died; nothing of the tree is left");
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
  void* memory =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return Error::system(ENOMEM, "mmap of the coordinator's outcome");
  Undo unmap([&] { ::munmap(memory, sizeof(Shared)); });
  auto* shared = new (memory) Shared;
  const pid_t caller = ::getpid();
  const pid_t coordinator = TRY(fork_avoiding(avoid));
  if (coordinator == 0) be_coordinator(caller, *shared, body);
  Result<> waited = [&]() -> Result<> {
    return wait_for(TRY(sys::pidfd_open(coordinator)), request, *shared);
  }();
  if (!waited.ok()) ::kill(coordinator, SIGKILL);
  (void)SYSCALL(::waitpid(coordinator, nullptr, __WALL), "waitpid");
  const uint32_t size = shared->outcome_size.load();
  if (size == 0) TRY(std::move(waited));
  return decode_outcome(std::string(shared->outcome, size));
}

}  // namespace ncr
