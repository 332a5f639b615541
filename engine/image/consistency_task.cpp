// Is one task's record sound by itself: registers, signals, descriptors, limits, credentials. Pure.
#include <unordered_set>

#include "engine/image/consistency.h"
#include "engine/image/image_dir.h"

namespace ncr::consistency {
namespace {

constexpr size_t kMostComm = 15;
constexpr size_t kMostRegset = 64 << 10;
constexpr size_t kSigInfo = 128;
constexpr int32_t kMostDescriptors = 1 << 30;

bool in_user_space(uint64_t address, uint64_t size) {
  return address <= kUserEnd && size <= kUserEnd - address;
}

// Not there, or of a plausible size.
bool is_regset(const std::string& bytes) {
  return bytes.size() <= kMostRegset && bytes.size() % 4 == 0;
}

template <class Infos>
bool are_signals(const Infos& infos) {
  for (const std::string& info : infos) {
    if (info.size() != kSigInfo) return false;
  }
  return true;
}

bool are_credentials(const schema::Credentials& credentials) {
  return (credentials.uids_size() == 0 || credentials.uids_size() == 4) &&
         (credentials.gids_size() == 0 || credentials.gids_size() == 4) &&
         credentials.groups_size() <= 65536;
}

Result<> check_seccomp(const std::string& who, const schema::Thread& thread, const Image& image) {
  constexpr size_t kInstruction = 8;
  constexpr size_t kMostInstructions = 4096;  // BPF_MAXINSNS
  if (thread.seccomp_mode() > 2 || (thread.seccomp_mode() == 2) == thread.seccomp_filters().empty())
    return bad(kTasksFile, who, "its seccomp mode");
  for (uint32_t id : thread.seccomp_filters()) {
    auto found = image.seccomp_filters.find(id);
    if (found == image.seccomp_filters.end())
      return bad(kTasksFile, who, "seccomp filter %u is not in the image", id);
    const size_t size = found->second.program().size();
    if (size == 0 || size % kInstruction != 0 || size > kMostInstructions * kInstruction)
      return bad(kSeccompFile, strf("filter %u", id), "%zu bytes are no program", size);
  }
  return {};
}

Result<> check_thread(const schema::Task& task, const schema::Thread& thread, const Image& image) {
  std::string who = strf("%s, thread %d", name_of(task).c_str(), thread.tid());
  if (!is_name(thread.comm(), kMostComm)) return bad(kTasksFile, who, "its name");
  bool registers = is_regset(thread.general_registers()) && is_regset(thread.extended_state());
  for (const auto& [type, bytes] : thread.other_regsets()) registers &= is_regset(bytes);
  if (!registers) return bad(kTasksFile, who, "registers of an impossible size");
  if (!are_signals(thread.pending_signals())) {
    return bad(kTasksFile, who, "a pending signal of an impossible size");
  }
  if (!in_user_space(thread.signal_stack().address(), thread.signal_stack().size())) {
    return bad(kTasksFile, who, "its signal stack leaves the address space");
  }
  if (!in_user_space(thread.rseq().address(), thread.rseq().size())) {
    return bad(kTasksFile, who, "its rseq area leaves the address space");
  }
  if (thread.robust_list_size() > kPageSize || thread.robust_list() > kUserEnd ||
      thread.clear_child_tid() > kUserEnd) {
    return bad(kTasksFile, who, "a futex address outside of the address space");
  }
  if (!are_credentials(thread.credentials())) return bad(kTasksFile, who, "its credentials");
  if (thread.scheduling().affinity().size() > 8192) return bad(kTasksFile, who, "its CPU affinity");
  return check_seccomp(who, thread, image);
}

Result<> check_descriptors(const schema::Task& task, const Image& image) {
  std::unordered_set<int32_t> numbers;
  for (const schema::Descriptor& descriptor : task.descriptors()) {
    int32_t number = descriptor.number();
    if (number < 0 || number >= kMostDescriptors || !numbers.insert(number).second) {
      return bad(kTasksFile, name_of(task), "descriptor %d: impossible, or there twice", number);
    }
    if (image.files.count(descriptor.file_id()) == 0) {
      return bad(kTasksFile, name_of(task), "descriptor %d: file %u is not in the image", number,
                 descriptor.file_id());
    }
  }
  return {};
}

Result<> check_signals(const schema::Task& task) {
  std::unordered_set<uint32_t> numbers;
  for (const schema::SignalAction& action : task.signal_actions()) {
    if (action.number() < 1 || action.number() > 64 || !numbers.insert(action.number()).second) {
      return bad(kTasksFile, name_of(task), "signal action %u: impossible, or there twice",
                 action.number());
    }
  }
  if (!are_signals(task.pending_signals())) {
    return bad(kTasksFile, name_of(task), "a pending signal of an impossible size");
  }
  if (task.stop_signal() < 0 || task.stop_signal() > 64) {
    return bad(kTasksFile, name_of(task), "stopped by signal %d", task.stop_signal());
  }
  return {};
}

Result<> check_timers(const schema::Task& task) {
  for (const schema::IntervalTimer& timer : task.interval_timers()) {
    if (timer.which() > 2)
      return bad(kTasksFile, name_of(task), "interval timer %u", timer.which());
  }
  std::unordered_set<int32_t> ids;
  constexpr int kThreadId = 4;  // SIGEV_THREAD_ID
  for (const schema::PosixTimer& timer : task.posix_timers()) {
    bool sound = timer.id() >= 0 && ids.insert(timer.id()).second && timer.signal() >= 0 &&
                 timer.signal() <= 64 && timer.notify() >= 0 && timer.notify() <= kThreadId;
    if (!sound) return bad(kTasksFile, name_of(task), "timer %d is not possible", timer.id());
  }
  return {};
}

Result<> check_process(const schema::Task& task) {
  std::unordered_set<uint32_t> resources;
  for (const schema::Rlimit& limit : task.rlimits()) {
    if (limit.resource() >= 64 || !resources.insert(limit.resource()).second) {
      return bad(kTasksFile, name_of(task), "resource limit %u: impossible, or there twice",
                 limit.resource());
    }
  }
  for (const std::string* path : {&task.fs().cwd(), &task.fs().root()}) {
    if (!path->empty() && !is_path(*path)) {
      return bad(kTasksFile, name_of(task), "a directory that is no absolute path");
    }
  }
  if (task.flags().umask() > 07777) {
    return bad(kTasksFile, name_of(task), "umask %o", task.flags().umask());
  }
  return {};
}

}  // namespace

Result<> check_task(const schema::Task& task, const Image& image) {
  if (!schema::TaskState_IsValid(task.state())) {
    return bad(kTasksFile, name_of(task), "in state %d", task.state());
  }
  if (!is_name(task.comm(), kMostComm)) return bad(kTasksFile, name_of(task), "its name");
  for (const schema::Thread& thread : task.threads()) TRY(check_thread(task, thread, image));
  TRY(check_descriptors(task, image));
  TRY(check_signals(task));
  TRY(check_timers(task));
  return check_process(task);
}

}  // namespace ncr::consistency
