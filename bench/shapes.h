// A running bench_target of one shape, and what an engine does to it.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "bench/runc_container.h"

namespace bench {

class Target {
 public:
  Target(const std::string& shape, long size);
  ~Target();  // kills the tree and reaps it
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;

  pid_t pid() const { return pid_; }
  void follow(pid_t restored) { pid_ = restored; }  // a container's number is not kept
  bool ready() const { return pid_ > 0; }
  std::string fresh_images_dir();  // emptied, on tmpfs
  double take_longest_stall();     // seconds since the last call
  void reap();                     // after a killing dump: waits until the pids are free

 private:
  void start(const std::string& shape, const std::string& size, const std::string& stall);

  pid_t pid_ = -1;
  std::string dir_;
  std::unique_ptr<RuncContainer> container_;
  unsigned long* longest_ = nullptr;
};

}  // namespace bench
