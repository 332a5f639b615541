// A child whose memory the page tests look at. It stands in for a frozen task: once ready() it only
// waits.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "engine/base/sys.h"
#include "engine/memory/vma_table.h"
#include "task.pb.h"

namespace ncr {

class TargetProcess {
 public:
  // Runs `body` in a child; it must call done() (of this) when its memory is as wanted, and may go
  // on to do more, or return.
  explicit TargetProcess(std::function<void()> body = {}) {
    EXPECT_EQ(::pipe2(pipe_, O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (body) body();
      (void)!::write(pipe_[1], "x", 1);
      for (;;) ::pause();
    }
    char byte;
    EXPECT_EQ(::read(pipe_[0], &byte, 1), 1);
  }
  TargetProcess(const TargetProcess&) = delete;
  ~TargetProcess() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    ::close(pipe_[0]);
    ::close(pipe_[1]);
  }

  pid_t pid() const { return pid_; }

  // Its VMAs, those with pages of their own in [start, end) only.
  schema::Memory memory(uint64_t start = 0, uint64_t end = ~uint64_t{0}) const {
    schema::Memory memory;
    Result<std::string> text = sys::read_file(strf("/proc/%d/smaps", pid_).c_str());
    Result<std::vector<VmaLine>> lines = parse_smaps(text.ok() ? text.value() : "");
    for (const VmaLine& line : lines.value()) {
      if (line.vma.start() >= start && line.vma.end() <= end) *memory.add_vmas() = line.vma;
    }
    return memory;
  }

 private:
  pid_t pid_ = 0;
  int pipe_[2] = {-1, -1};
};

}  // namespace ncr
