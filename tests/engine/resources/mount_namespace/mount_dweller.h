// A process in a mount namespace as a test wants it, and what becomes of its mounts.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "engine/memory/shared_memory_table.h"
#include "engine/resources/mount_namespace/mountinfo.h"
#include "engine/resources/room.h"
#include "engine/resources/shared_memory/shared_memory.h"
#include "tests/support/child_process.h"

namespace ncr::mount_namespace {

extern const NamespaceRoom kRoom;

inline Task task_of(pid_t pid) {
  Task task;
  task.pid = pid;
  task.proc = sys::open(strf("/proc/%d", pid).c_str(), O_PATH | O_DIRECTORY).take();
  return task;
}

// It says "y" when its namespace is as wanted.
class Dweller {
 public:
  explicit Dweller(const std::function<bool()>& set_up) {
    int ready[2];
    EXPECT_EQ(::pipe2(ready, O_CLOEXEC), 0);
    pid_ = test::fork_child([&] {
      std::string answer = set_up() ? "y" : "n";
      Result<std::string> table = sys::read_file("/proc/self/mountinfo");
      if (table.ok()) answer += table.value();
      Fd out(::fcntl(ready[1], F_DUPFD_CLOEXEC, 0));
      (void)sys::write_all(out, answer.data(), answer.size());
      out.close();
      ::close(ready[1]);
      ::pause();
    });
    ::close(ready[1]);
    char buffer[4096];
    ssize_t got = 0;
    while ((got = ::read(ready[0], buffer, sizeof buffer)) > 0)
      answer_.append(buffer, static_cast<size_t>(got));
    ::close(ready[0]);
    task_ = task_of(pid_);
  }
  ~Dweller() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  bool well() const { return answer_.starts_with("y"); }
  std::string table() const { return answer_.substr(1); }
  std::string path(const std::string& inside) const {
    return strf("/proc/%d/root%s", pid_, inside.c_str());
  }
  const Task& task() const { return task_; }

 private:
  pid_t pid_ = 0;
  std::string answer_;
  Task task_;
};

struct Dumped {
  schema::Namespace record;
  Blockers blockers;
  std::string error;
};

// `root`: of the tree; 0: the task itself is.
inline Dumped dump(const Task& task, const DumpRequest& request = {}, pid_t root = 0) {
  Dumped dumped;
  Result<Fd> space = sys::open_at(task.proc, "ns/mnt", O_RDONLY);
  EXPECT_TRUE(space.ok());
  std::vector<Task> tasks;
  tasks.push_back(task_of(root != 0 ? root : task.pid));
  SharedMemoryTable content;
  NamespaceProbe probe{tasks, task, space.take(), request, content, nullptr};
  probe.of_root = root == 0;
  std::thread([&] {
    if (::unshare(CLONE_FS) != 0 || ::setns(probe.fd.get(), CLONE_NEWNS) != 0) {
      dumped.error = "cannot enter";
      return;
    }
    Result<> done = kRoom.dump(probe, &dumped.record, dumped.blockers);
    if (!done.ok()) dumped.error = done.error().text();
  }).join();
  EXPECT_EQ(dumped.error, "");
  return dumped;
}

inline Dumped dump(const Dweller& dweller, const DumpRequest& request = {}) {
  return dump(dweller.task(), request);
}

inline bool unshare_mounts() {
  return ::unshare(CLONE_NEWNS) == 0 && ::mount("", "/", "", MS_REC | MS_PRIVATE, nullptr) == 0;
}

// What build() says is printed where the test's output goes.
inline bool rebuild(const schema::Namespace& record, const RestoreRequest& request = {}) {
  if (::unshare(CLONE_NEWNS) != 0) return false;
  Image image;
  SharedMemoryObjects content;
  Result<> built = kRoom.build({image, request, content, record, nullptr});
  if (!built.ok()) std::fprintf(stderr, "%s\n", built.error().text().c_str());
  return built.ok();
}

// Lines without the numbers that differ by nature; groups are named by where they appear first.
inline std::vector<std::string> comparable(const std::string& text) {
  std::vector<MountLine> lines = parse_mountinfo(text).take();
  std::map<uint32_t, std::string> points;
  std::map<uint32_t, std::string> groups = {{0, "-"}};
  for (const MountLine& line : lines) points[line.id] = line.point;
  std::sort(lines.begin(), lines.end(), [](const MountLine& a, const MountLine& b) {
    return std::tie(a.point, a.root, a.source) < std::tie(b.point, b.root, b.source);
  });
  for (const MountLine& line : lines)
    if (line.peers != 0) groups.try_emplace(line.peers, line.point);
  std::vector<std::string> result;
  for (const MountLine& line : lines)
    result.push_back(strf("%s on %s: %s of %s %s %s, %llx, in %s, from %s%s", line.point.c_str(),
                          points[line.parent].c_str(), line.root.c_str(), line.type.c_str(),
                          line.source.c_str(), line.options.c_str(),
                          static_cast<unsigned long long>(line.attributes),
                          groups[line.peers].c_str(),
                          groups.contains(line.master) ? groups[line.master].c_str() : "outside",
                          line.unbindable ? ", unbindable" : ""));
  std::sort(result.begin(), result.end());
  return result;
}

inline void expect_same(const std::string& before, const std::string& after) {
  std::vector<std::string> a = comparable(before);
  std::vector<std::string> b = comparable(after);
  for (const std::string& line : a)
    EXPECT_NE(std::find(b.begin(), b.end(), line), b.end()) << "missing: " << line;
  for (const std::string& line : b)
    EXPECT_NE(std::find(a.begin(), a.end(), line), a.end()) << "new: " << line;
}

// A namespace as a test wants it, and another one, built from a dump of it, with the same mounts.
struct Rebuilt {
  // `first`: what the second one does before it is built.
  explicit Rebuilt(
      const std::function<bool()>& set_up, const std::function<bool()>& first = [] { return true; })
      : before(set_up),
        dumped(dump(before)),
        after([&] { return first() && rebuild(dumped.record); }) {
    EXPECT_TRUE(before.well());
    EXPECT_TRUE(dumped.blockers.empty());
    EXPECT_TRUE(after.well());
    expect_same(before.table(), after.table());
  }
  Dweller before;
  Dumped dumped;
  Dweller after;
};

inline bool mount_at(const std::string& point, const char* type, const char* options = nullptr,
                     unsigned long flags = 0) {
  return ::mount(type, point.c_str(), type, flags, options) == 0;
}
inline bool bind_at(const std::string& from, const std::string& to) {
  return ::mount(from.c_str(), to.c_str(), nullptr, MS_BIND, nullptr) == 0;
}
inline bool make_directory(const std::string& path) { return ::mkdir(path.c_str(), 0755) == 0; }
inline bool make_file(const std::string& path, const std::string& text = "") {
  Result<Fd> file = sys::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644);
  return file.ok() && sys::write_all(file.value(), text.data(), text.size()).ok();
}

// ---- In a process that is checkpointed

inline void must(bool well, const char* what) {
  if (!well) throw std::runtime_error(what);
}

inline std::string own_table() { return sys::read_file("/proc/self/mountinfo").take(); }

inline void must_be_same(const std::string& before) {
  if (comparable(before) == comparable(own_table())) return;
  std::fprintf(stderr, "before:\n%s\nafter:\n%s\n", before.c_str(), own_table().c_str());
  throw std::runtime_error("the mounts are others");
}

}  // namespace ncr::mount_namespace
