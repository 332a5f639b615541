// MAP_SHARED memory, made before the first fork. Inner and outer numbers differ when the tree has a
// pid namespace of its own; a process learns its outer one from the /proc of the namespace above
// (engine/tree/birth.cpp), a thread's is found in /proc/PID/task/TID/status (proc(5): NSpid).
#include "engine/tree/birth_register.h"

#include <sys/mman.h>

#include <utility>

#include "engine/base/proc.h"
#include "engine/tree/process_table.h"

namespace ncr {

Result<BirthRegister> BirthRegister::create(size_t count) {
  void* memory = ::mmap(nullptr, count * sizeof(Entry), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return Error::system(ENOMEM, "mmap of the list of processes");
  return BirthRegister(static_cast<Entry*>(memory), count);
}

BirthRegister::BirthRegister(BirthRegister&& other) noexcept
    : entries_(std::exchange(other.entries_, nullptr)), count_(other.count_) {}

BirthRegister::~BirthRegister() {
  if (entries_ != nullptr) ::munmap(entries_, count_ * sizeof(Entry));
}

Result<std::unordered_map<pid_t, pid_t>> outer_threads(pid_t outer, size_t depth) {
  std::unordered_map<pid_t, pid_t> by_inner;
  const std::string directory = strf("/proc/%d/task", outer);
  std::vector<pid_t> tids = TRY(sys::numbered_entries(Fd(), directory.c_str()));
  for (pid_t tid : tids) {
    std::string text = TRY(sys::read_file(strf("%s/%d/status", directory.c_str(), tid).c_str()));
    proc::Status status = TRY(proc::parse_status(text));
    const std::vector<pid_t>& numbers = status.ns_pids;
    by_inner.emplace(numbers.size() <= depth ? tid : numbers[numbers.size() - 1 - depth], tid);
  }
  return by_inner;
}

}  // namespace ncr
