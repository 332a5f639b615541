// Cgroups of a test: directories at the top of a hierarchy of this machine, gone with their owner.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "engine/resources/cgroup/hierarchies.h"
#include "tests/support/scratch.h"

namespace ncr::testing {

class TestCgroups {
 public:
  explicit TestCgroups(const std::string& controllers, const std::string& name = "a")
      : name_(strf("/nativecr-test-%d-%s", ::getpid(), name.c_str())) {
    Result<cgroup::Hierarchies> machine = cgroup::Hierarchies::look();
    if (!machine.ok()) return;
    Result<Fd> root = machine.value().open_root(controllers);
    if (!root.ok()) return;
    root_ = root.take();
    usable_ = make("");
  }
  ~TestCgroups() { remove(); }
  TestCgroups(const TestCgroups&) = delete;

  bool usable() const { return usable_; }
  const std::string& name() const { return name_; }  // "/nativecr-test-..."
  std::string path(const std::string& below = "") const {
    return strf("/proc/%d/fd/%d", ::getpid(), root_.get()) + name_ + below;
  }
  bool make(const std::string& below) { return ::mkdir(path(below).c_str(), 0755) == 0; }
  bool exists(const std::string& below = "") const { return test::file_exists(path(below)); }
  std::string text(const std::string& file) const {
    std::string text = test::file_text(path("/" + file));
    if (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
  }
  bool put(const std::string& file, const std::string& value) const {
    Result<Fd> fd = sys::open(path("/" + file).c_str(), O_WRONLY);
    return fd.ok() && sys::write_all(fd.value(), value.data(), value.size()).ok();
  }
  bool holds(pid_t pid, const std::string& below = "") const {
    const std::string procs =
        "\n" + text((below + "/cgroup.procs").substr(below.empty() ? 1 : 1)) + "\n";
    return procs.find("\n" + std::to_string(pid) + "\n") != std::string::npos;
  }
  // Who is inside goes to the top of the hierarchy.
  void remove() {
    if (!usable_) return;
    namespace fs = std::filesystem;
    std::vector<std::string> directories = {path()};
    std::error_code error;
    for (fs::recursive_directory_iterator at(path(), error), end; !error && at != end;
         at.increment(error))
      if (at->is_directory(error)) directories.push_back(at->path().string());
    std::sort(directories.rbegin(), directories.rend());
    for (const std::string& directory : directories) {
      for (int tries = 0; tries < 200 && ::rmdir(directory.c_str()) != 0; tries++) {
        empty(directory);
        ::usleep(1000);
      }
    }
  }

 private:
  void empty(const std::string& directory) const {
    const std::string procs = test::file_text(directory + "/cgroup.procs");
    for (std::string_view pid : cgroup::split(procs, '\n'))
      test::append_to(strf("/proc/self/fd/%d/cgroup.procs", root_.get()), std::string(pid));
  }

  std::string name_;
  Fd root_;
  bool usable_ = false;
};

}  // namespace ncr::testing
