// engine: the freezer of a cgroup. v2: cgroup.freeze holds what was asked, "frozen 1" in
// cgroup.events says that it is so; the tasks are in an interruptible trap, ptrace works on them,
// SIGKILL kills them. v1: freezer.state takes FROZEN and shows FREEZING until it is so; the tasks
// sleep in the refrigerator, ptrace stops and SIGKILL wait for the thaw. So with either the tasks
// are seized and interrupted while frozen, then thawed: they go from the freezer into the ptrace
// stop without one instruction of their own. If the engine is killed between freeze() and thaw(),
// the cgroup stays frozen: who called the engine has to thaw it (the same holds, the other way
// round, for one that was found frozen: it then stays thawed).
#include "engine/tree/cgroup_freezer.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <filesystem>
#include <string_view>

#include "engine/base/proc.h"

namespace ncr {
namespace {

uint64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

bool holds(const Fd& directory, const char* file, std::string_view line) {
  Result<std::string> text = sys::read_file_at(directory, file);
  if (!text.ok()) return false;
  const std::string lines = "\n" + text.value();
  return lines.find("\n" + std::string(line) + "\n") != std::string::npos;
}

bool contains_us(const std::string& path) {
  namespace fs = std::filesystem;
  const std::string us = std::to_string(::getpid());
  std::error_code error;
  Result<Fd> top = sys::open(path.c_str(), O_PATH | O_DIRECTORY);
  if (top.ok() && holds(top.value(), "cgroup.procs", us)) return true;
  for (fs::recursive_directory_iterator at(path, error), end; !error && at != end;
       at.increment(error)) {
    if (!at->is_directory(error)) continue;
    Result<Fd> directory = sys::open(at->path().c_str(), O_PATH | O_DIRECTORY);
    if (directory.ok() && holds(directory.value(), "cgroup.procs", us)) return true;
  }
  return false;
}

Result<> write_file_at(const Fd& directory, const char* file, std::string_view text) {
  Fd fd = TRY(sys::open_at(directory, file, O_WRONLY));
  return sys::write_all(fd, text.data(), text.size());
}

}  // namespace

Result<CgroupFreezer> CgroupFreezer::open(const std::string& path) {
  Fd directory = TRY_WHILE(sys::open(path.c_str(), O_PATH | O_DIRECTORY), "freeze cgroup");
  const bool v2 = ::faccessat(directory.get(), "cgroup.freeze", F_OK, 0) == 0;
  const bool v1 = ::faccessat(directory.get(), "freezer.state", F_OK, 0) == 0;
  if (!v1 && !v2)
    return Error::usage(
        strf("freeze cgroup %s: neither cgroup.freeze nor freezer.state is there; give a cgroup v2 "
             "directory below the root, or one of the v1 freezer",
             path.c_str()));
  if (contains_us(path))
    return Error::usage(
        strf("freeze cgroup %s: this process is inside and would freeze itself; run "
             "it from another cgroup",
             path.c_str()));
  CgroupFreezer freezer(path, std::move(directory), v2 ? Version::kV2 : Version::kV1);
  freezer.was_frozen_ = v2 ? holds(freezer.directory_, "cgroup.freeze", "1")
                           : holds(freezer.directory_, "freezer.self_freezing", "1");
  freezer.frozen_ = freezer.was_frozen_;
  const bool above = TRY(freezer.frozen_from_above());
  if (above)
    return Error::usage(
        strf("freeze cgroup %s: a cgroup above it is frozen; thaw that, or give it as "
             "the cgroup to freeze",
             path.c_str()));
  return freezer;
}

CgroupFreezer::~CgroupFreezer() {
  if (directory_.valid()) (void)put_back();
}

Result<bool> CgroupFreezer::frozen_from_above() const {
  if (version_ == Version::kV1) return holds(directory_, "freezer.parent_freezing", "1");
  return !was_frozen_ && holds(directory_, "cgroup.events", "frozen 1");
}

Result<> CgroupFreezer::write_state(bool frozen) {
  if (version_ == Version::kV2) {
    TRY_WHILE(write_file_at(directory_, "cgroup.freeze", frozen ? "1" : "0"), "cgroup %s",
              path_.c_str());
  } else {
    TRY_WHILE(write_file_at(directory_, "freezer.state", frozen ? "FROZEN" : "THAWED"), "cgroup %s",
              path_.c_str());
  }
  frozen_ = frozen;
  return {};
}

Result<bool> CgroupFreezer::reached() const {
  return version_ == Version::kV2 ? holds(directory_, "cgroup.events", "frozen 1")
                                  : holds(directory_, "freezer.state", "FROZEN");
}

// v1 gives up on a task that could not be frozen at once (one that was just being forked), until
// asked again.
Result<> CgroupFreezer::freeze(uint64_t deadline_ns) {
  TRY(write_state(true));
  for (int round = 1;; round++) {
    const bool done = TRY(reached());
    if (done) return {};
    if (now_ns() > deadline_ns)
      return Error::system(ETIMEDOUT,
                           strf("freeze cgroup %s: its tasks do not come to rest; one of them "
                                "waits in the kernel (a vfork parent, a hung disk)",
                                path_.c_str()));
    if (version_ == Version::kV1 && round % 16 == 0) TRY(write_state(true));
    timespec pause{0, round < 20 ? 50'000 : 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
}

Result<> CgroupFreezer::thaw() { return frozen_ ? write_state(false) : Result<>(); }

Result<> CgroupFreezer::put_back() {
  return frozen_ == was_frozen_ ? Result<>() : write_state(was_frozen_);
}

}  // namespace ncr
