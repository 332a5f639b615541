// Filters on system calls hang on a thread as a chain of programs (task_struct.seccomp), newest
// first, whose older part is shared with whoever it was inherited from. PTRACE_SECCOMP_GET_FILTER
// counts from the oldest and gives the program as it was installed; it asks for CAP_SYS_ADMIN and
// for a caller without filters. What userspace cannot see: which threads share a chain (equal
// programs are taken for one), SECCOMP_FILTER_FLAG_SPEC_ALLOW (its effect is among a thread's
// speculation controls), and whether a filter has a listener. Runs in the engine.
#include "engine/resources/seccomp/filter_table.h"

#include <linux/filter.h>
#include <linux/ptrace.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "engine/tracee/remote_call.h"

namespace ncr::seccomp {
namespace {

constexpr int kStrictMode = 1;
constexpr int kFilterMode = 2;
constexpr size_t kMostInstructions = 4096;  // BPF_MAXINSNS

// Why the filters could not be read, if the tree can be helped.
const char* reason_of(const Error& error) {
  switch (error.os_error()) {
    case EACCES:
      return "has seccomp filters, which this process may not read (this needs CAP_SYS_ADMIN, and "
             "no filters on the reader)";
    case EIO:
    case EINVAL:
      return "has seccomp filters, which this kernel does not tell (CONFIG_CHECKPOINT_RESTORE)";
    case EMEDIUMTYPE:
      return "has seccomp filters that are not classic BPF";
    default:
      return nullptr;
  }
}

constexpr char kWayOut[] = "run it without seccomp (for containers: seccomp=unconfined)";

}  // namespace

bool asks_a_listener(const std::string& program) {
  for (size_t at = 0; at + sizeof(sock_filter) <= program.size(); at += sizeof(sock_filter)) {
    sock_filter instruction;
    std::memcpy(&instruction, program.data() + at, sizeof instruction);
    if (instruction.code == (BPF_RET | BPF_K) &&
        (instruction.k & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_USER_NOTIF)
      return true;
  }
  return false;
}

uint32_t FilterTable::id_of(std::string program, bool log) {
  const auto next = static_cast<uint32_t>(records_.size() + 1);
  auto [at, fresh] = ids_.try_emplace({std::move(program), log}, next);
  if (fresh) {
    schema::SeccompFilter& record = records_.emplace_back();
    record.set_id(next);
    record.set_program(at->first.first);
    record.set_log(log);
  }
  return at->second;
}

Result<uint32_t> FilterTable::read_filter(pid_t tid, unsigned index) {
  buffer_.resize(kMostInstructions * sizeof(sock_filter));
  const long instructions =
      TRY(SYSCALL(::syscall(SYS_ptrace, PTRACE_SECCOMP_GET_FILTER, tid, index, buffer_.data()),
                  "thread %d: ptrace SECCOMP_GET_FILTER", tid));
  seccomp_metadata metadata{};
  metadata.filter_off = index;
  TRY(SYSCALL(::syscall(SYS_ptrace, PTRACE_SECCOMP_GET_METADATA, tid, sizeof metadata, &metadata),
              "thread %d: ptrace SECCOMP_GET_METADATA", tid));
  return id_of(buffer_.substr(0, static_cast<size_t>(instructions) * sizeof(sock_filter)),
               (metadata.flags & SECCOMP_FILTER_FLAG_LOG) != 0);
}

Result<> FilterTable::add_thread(const Task& task, const SeizedThread& thread,
                                 schema::Thread* record, Blockers& blockers) {
  const ThreadStatus* read = TRY(task.status(thread.tid()));
  const proc::Status& status = read->status;
  const bool has_filters = status.seccomp == kFilterMode && status.seccomp_filters > 0;
  if (!has_filters && status.seccomp != kStrictMode) return {};
  const std::string who = strf("thread %d", thread.tid());
  record->set_seccomp_mode(static_cast<uint32_t>(status.seccomp));
  Result<> suspended = prepare_remote_calls(thread);
  if (!suspended.ok() && suspended.error().code() == ErrorCode::kUnsupported) {
    blockers.add(task, who,
                 "has seccomp filters that cannot be suspended (this needs CAP_SYS_ADMIN "
                 "and no filters on the caller)",
                 kWayOut);
    return {};
  }
  TRY(std::move(suspended));
  for (int index = 0; has_filters && index < status.seccomp_filters; index++) {
    Result<uint32_t> id = read_filter(thread.tid(), static_cast<unsigned>(index));
    if (!id.ok() && reason_of(id.error()) != nullptr) {
      blockers.add(task, who, reason_of(id.error()), kWayOut);
      return {};
    }
    record->add_seccomp_filters(TRY(std::move(id)));
    if (!asks_a_listener(records_[record->seccomp_filters(index) - 1].program())) continue;
    blockers.add(task, who, "has a seccomp filter that asks a listener (SECCOMP_RET_USER_NOTIF)",
                 "run it without the rules that notify");
    return {};
  }
  return {};
}

Result<> FilterTable::add_task(const Task& task, schema::Task* record, Blockers& blockers) {
  for (size_t i = 0; i < task.threads.size(); i++)
    TRY(add_thread(task, task.threads[i], record->mutable_threads(static_cast<int>(i)), blockers));
  return {};
}

std::vector<const google::protobuf::MessageLite*> FilterTable::records() const {
  std::vector<const google::protobuf::MessageLite*> list;
  for (const schema::SeccompFilter& record : records_) list.push_back(&record);
  return list;
}

}  // namespace ncr::seccomp
