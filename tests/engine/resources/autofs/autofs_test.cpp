// Mounts that ask a daemon, with the daemon. Needs CAP_SYS_ADMIN.
#include "engine/resources/autofs/autofs.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/auto_fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <csignal>
#include <functional>
#include <memory>

#include "tests/engine/resources/beside.h"
#include "tests/engine/resources/mount_namespace/mount_dweller.h"
#include "tests/support/scratch.h"

namespace ncr::autofs {
namespace {

using mount_namespace::make_directory;
using mount_namespace::make_file;
using mount_namespace::mount_at;
using mount_namespace::must;
using mount_namespace::unshare_mounts;

constexpr unsigned long kTimeout = 77;

bool has_autofs() { return ::access("/dev/autofs", F_OK) == 0; }

std::string options_for(int pipe, const char* kind) {
  return strf("fd=%d,pgrp=%d,minproto=5,maxproto=5,%s", pipe, ::getpgrp(), kind);
}

// As mountinfo has it.
std::string options_at(const std::string& point) {
  for (const mount_namespace::MountLine& line :
       mount_namespace::parse_mountinfo(mount_namespace::own_table()).take())
    if (line.point == point && line.type == kType) return line.options;
  return {};
}

// Mounts a tmpfs with a file in it wherever somebody passes.
class Daemon {
 public:
  Daemon(
      const std::string& dir, bool direct, const std::function<void()>& prepare = [] {}) {
    int ready[2];
    must(::pipe2(ready, O_CLOEXEC) == 0, "pipe");
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      serve(dir, direct, prepare, ready[1]);
    }
    ::close(ready[1]);
    char byte = 0;
    must(::read(ready[0], &byte, 1) == 1, "daemon");
    ::close(ready[0]);
  }
  void end() const {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

 private:
  [[noreturn]] static void serve(const std::string& dir, bool direct,
                                 const std::function<void()>& prepare, int ready) {
    int ends[2];
    if (::setpgid(0, 0) != 0 || ::pipe(ends) != 0 ||
        !mount_at(dir, kType, options_for(ends[1], direct ? "direct" : "indirect").c_str()))
      ::_exit(1);
    ::close(ends[1]);
    const int root = ::open(dir.c_str(), O_RDONLY | O_DIRECTORY);
    if (::open("/dev/autofs", O_RDONLY) < 0) ::_exit(2);  // as daemons have it
    unsigned long timeout = kTimeout;
    if (::ioctl(root, AUTOFS_IOC_SETTIMEOUT, &timeout) != 0) ::_exit(2);
    prepare();
    if (::write(ready, "y", 1) != 1) ::_exit(3);
    ::close(ready);
    autofs_v5_packet_union packet{};
    while (::read(ends[0], &packet, sizeof packet) == sizeof packet) {
      const std::string place = direct ? dir : dir + "/" + packet.v5_packet.name;
      if (!direct) ::mkdir(place.c_str(), 0755);
      const bool done = mount_at(place, "tmpfs") && make_file(place + "/here");
      ::ioctl(root, done ? AUTOFS_IOC_READY : AUTOFS_IOC_FAIL, packet.v5_packet.wait_queue_token);
    }
    ::_exit(4);
  }

  pid_t pid_ = 0;
};

bool finds(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0;
}

TEST(autofs, options_are_told_by_the_kernel) {
  Told told =
      parse_options("rw,fd=7,pgrp=12,timeout=300,minproto=5,maxproto=5,direct,pipe_ino=99").take();
  EXPECT_EQ(told.group, 12);
  EXPECT_EQ(told.timeout, 300u);
  EXPECT_EQ(told.pipe, 99);
  EXPECT_EQ(parse_options("fd=-1,pgrp=1,timeout=0,pipe_ino=-1").take().pipe, -1);
  EXPECT_FALSE(parse_options("fd=7,pgrp=12,timeout=300").ok()) << "an older kernel";
  EXPECT_FALSE(parse_options("pgrp=x,timeout=0,pipe_ino=1").ok());
}

using Step = std::function<void(const std::string& dir)>;

// A process and the daemon of a mount at `dir`; both are checkpointed.
void checkpoint_with_daemon(bool direct, const Step& prepare, const Step& before,
                            const Step& after) {
  if (!has_autofs()) return;
  test::Scratch scratch;
  const std::string dir = scratch.path();
  std::unique_ptr<Daemon> daemon;
  test::checkpoint_beside(
      [&] {
        must(unshare_mounts(), "unshare");
        daemon = std::make_unique<Daemon>(dir, direct, [&] { prepare(dir); });
        before(dir);
      },
      [&] {
        after(dir);
        daemon->end();
      });
}

void nothing(const std::string&) {}

void prepare_offers(const std::string& dir) {
  const std::string offered = dir + "/offered";
  must(make_directory(offered) && ::chown(offered.c_str(), 7, 8) == 0 &&
           ::chmod(offered.c_str(), 0751) == 0 && ::symlink("one", (dir + "/link").c_str()) == 0,
       "prepare");
}

void check_indirect(const std::string& dir) {
  const std::string options = options_at(dir);
  must(options.find("timeout=77") != std::string::npos &&
           options.find(",indirect") != std::string::npos &&
           options.find("pipe_ino=-1") == std::string::npos,
       options.c_str());
  struct statfs of_one {};
  must(::statfs((dir + "/one").c_str(), &of_one) == 0 && of_one.f_type == TMPFS_MAGIC,
       "what was mounted still is");
  must(finds(dir + "/one/here") && finds(dir + "/link/here"), "its content");
  struct stat offered {};
  must(::lstat((dir + "/offered").c_str(), &offered) == 0 && offered.st_uid == 7 &&
           offered.st_gid == 8 && (offered.st_mode & 07777) == 0751,
       "directory");
  must(finds(dir + "/offered/here"), "mounted where nothing was");
  must(finds(dir + "/two/here"), "a new one");
}

CR_TEST(autofs, an_indirect_mount_asks_its_daemon_again) {
  checkpoint_with_daemon(
      false, prepare_offers,
      [](const std::string& dir) { must(finds(dir + "/one/here"), "first"); }, check_indirect);
}

CR_TEST(autofs, a_direct_mount_under_what_its_daemon_has_mounted_asks_when_that_is_gone) {
  checkpoint_with_daemon(
      true, nothing,
      [](const std::string& dir) {
        must(finds(dir + "/here") && make_file(dir + "/mine"), "first");
      },
      [](const std::string& dir) {
        must(finds(dir + "/here") && finds(dir + "/mine"), "what was mounted still is");
        must(::umount(dir.c_str()) == 0, "umount");
        must(finds(dir + "/here") && !finds(dir + "/mine"), "mounted again");
      });
}

CR_TEST(autofs, a_direct_mount_that_nobody_has_passed_yet_is_not_passed_by_a_checkpoint) {
  checkpoint_with_daemon(true, nothing, nothing, [](const std::string& dir) {
    const std::string table = mount_namespace::own_table();
    must(table.find(dir + " rw,relatime - tmpfs") == std::string::npos, "not mounted");
    must(finds(dir + "/here"), "mounted");
  });
}

CR_TEST(autofs, a_catatonic_mount_asks_nobody) {
  if (!has_autofs()) return;
  test::Scratch scratch;
  const std::string dir = scratch.path();
  test::checkpoint_beside(
      [&] {
        int ends[2];
        must(unshare_mounts() && ::pipe(ends) == 0 &&
                 mount_at(dir, kType, options_for(ends[1], "indirect").c_str()),
             "mount");
        must(make_directory(dir + "/kept"), "mkdir");
        const int root = ::open(dir.c_str(), O_RDONLY | O_DIRECTORY);
        must(::ioctl(root, AUTOFS_IOC_CATATONIC, 0) == 0, "catatonic");
        ::close(root);
        ::close(ends[0]);
        ::close(ends[1]);
      },
      [&] {
        must(options_at(dir).find("pipe_ino=-1") != std::string::npos, "catatonic");
        must(finds(dir + "/kept") && !finds(dir + "/other"), "what is in it");
      });
}

// A mount whose pipe somebody of another group reads, or nobody.
void checkpoint_and_go_on(bool with_reader) {
  if (!has_autofs()) {
    checkpoint_restore();
    return;
  }
  test::Scratch scratch;
  const std::string dir = scratch.path();
  int ends[2];
  must(unshare_mounts() && ::pipe(ends) == 0 &&
           mount_at(dir, kType, options_for(ends[1], "indirect").c_str()),
       "mount");
  if (with_reader)
    must(::write(ends[1], "request", 7) == 7, "write");
  else
    ::close(ends[0]);
  checkpoint_restore();
  must(::umount(dir.c_str()) == 0, "umount");
}

TEST(cr_autofs, one_without_its_daemon_is_refused) {
  if (!has_autofs()) GTEST_SKIP() << "no autofs here";
  test::Options options;
  options.refused_with = "its daemon is not in the tree";
  test::run_checkpoint_test([] { checkpoint_and_go_on(false); }, options);
}

TEST(cr_autofs, one_with_an_unanswered_request_is_refused) {
  if (!has_autofs()) GTEST_SKIP() << "no autofs here";
  test::Options options;
  options.refused_with = "somebody waits for its daemon";
  test::run_checkpoint_test([] { checkpoint_and_go_on(true); }, options);
}

}  // namespace
}  // namespace ncr::autofs
