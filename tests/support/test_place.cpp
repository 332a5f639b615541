// The init of the new namespaces is as small as an init can be: it has the child that runs the
// body, collects what is orphaned, and exits with the child's status. It is dumped and restored
// with its child. Everything of the harness's own is closed before the child exists.
#include "tests/support/test_place.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "engine/base/sys.h"
#include "tests/support/scratch.h"

namespace ncr::test {
namespace {

using Body = std::function<void()>;

constexpr unsigned kFirstIdOutside = 100'000;
constexpr unsigned kIds = 65'536;

struct Exception {
  const char* places;  // first letters of pidns, allns, userns
  const char* test;
  const char* reason;
};

constexpr Exception kExceptions[] = {
#include "tests/support/exceptions.inc"
};

uint64_t clone_flags(Place place) {
  const uint64_t some = CLONE_NEWPID | CLONE_NEWNS;
  const uint64_t all =
      some | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWTIME;
  if (place == Place::kPidNamespace) return some;
  return place == Place::kUserNamespace ? all | CLONE_NEWUSER : all;
}

void raise_loopback() {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  ::ioctl(fd, SIOCSIFFLAGS, &request);
  ::close(fd);
}

bool bind_mount(const std::string& from, const std::string& to, unsigned long flags) {
  return ::mount(from.c_str(), to.c_str(), nullptr, MS_BIND | flags, nullptr) == 0;
}

// Where the machine's node is for its own root only, the tree gets one that is for everybody;
// whoever restores the tree in a user namespace has the machine's.
bool let_open_tun(const std::string& root) {
  const std::string node = root + "-tun";
  if (::access("/dev/net/tun", F_OK) != 0) return true;
  return ::mknod(node.c_str(), S_IFCHR, makedev(10, 200)) == 0 &&
         ::chmod(node.c_str(), 0666) == 0 && bind_mount(node, root + "/dev/net/tun", 0);
}

// The machine without what others have mounted below it. By somebody with all privileges: no part
// of it may be locked to the rest (mount_namespaces(7)).
bool lay_out_root(const std::string& root, Place place) {
  return ::unshare(CLONE_NEWNS) == 0 &&
         ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mkdir(root.c_str(), 0755) == 0 && bind_mount("/", root, 0) &&
         bind_mount("/tmp", root + "/tmp", 0) && bind_mount("/dev", root + "/dev", MS_REC) &&
         bind_mount("/sys", root + "/sys", MS_REC) &&
         (place != Place::kUserNamespace || let_open_tun(root));
}

// A procfs of the new pid namespace takes an old one in sight.
bool enter_root(const std::string& root) {
  return bind_mount(root, root, MS_REC) && ::chdir(root.c_str()) == 0 &&
         ::mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) == 0 &&
         ::syscall(SYS_pivot_root, ".", ".") == 0 && ::umount2(".", MNT_DETACH) == 0 &&
         ::chdir("/") == 0;
}

bool settle_in(Place place, const std::string& root) {
  if (place == Place::kUserNamespace && (::setresgid(0, 0, 0) != 0 || ::setresuid(0, 0, 0) != 0))
    return false;
  ::prctl(PR_SET_DUMPABLE, 1);  // as after an exec
  if (place != Place::kPidNamespace) raise_loopback();
  return enter_root(root);
}

[[noreturn]] void be_init(Place place, int may_begin, const std::string& root, const Body& body) {
  char byte = 0;
  if (::read(may_begin, &byte, 1) != 1 || !settle_in(place, root)) ::_exit(101);
  ::setsid();
  ::close_range(0, ~0u, 0);
  for (int fd = 0; fd < 3; fd++) ::open("/dev/null", O_RDWR);
  const pid_t child = ::fork();
  if (child == 0) {
    body();
    ::_exit(102);
  }
  for (int status = 0;;) {
    const pid_t ended = ::waitpid(-1, &status, __WALL);
    if (ended == child) ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  }
}

// As a child of our parent.
pid_t clone_init(Place place) {
  clone_args args{};
  args.flags = clone_flags(place) | CLONE_PARENT;
  return static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
}

Result<> write_map(pid_t pid, const char* file) {
  const std::string text = strf("0 %u %u", kFirstIdOutside, kIds);
  Fd map = TRY(sys::open(strf("/proc/%d/%s", pid, file).c_str(), O_WRONLY));
  return sys::write_all(map, text.data(), text.size());
}

Result<> let_begin(Place place, pid_t init, const Fd& begin, const std::string& folder) {
  if (place == Place::kUserNamespace) {
    TRY(write_map(init, "uid_map"));
    TRY(write_map(init, "gid_map"));
    TRY(SYSCALL(::chown(folder.c_str(), kFirstIdOutside, kFirstIdOutside), "chown"));
  }
  return sys::write_all(begin, "x", 1);
}

}  // namespace

Place place_of(const std::string& suite) {
  if (suite.starts_with("pidns_")) return Place::kPidNamespace;
  if (suite.starts_with("allns_")) return Place::kAllNamespaces;
  return suite.starts_with("userns_") ? Place::kUserNamespace : Place::kHost;
}

std::string exception_of(Place place, const std::string& test) {
  constexpr char kLetters[] = {' ', 'p', 'a', 'u'};
  const char letter = kLetters[static_cast<size_t>(place)];
  for (const Exception& exception : kExceptions) {
    const std::string pattern = exception.test;
    const bool whole_room = pattern.ends_with(".*");
    const bool meant =
        whole_room ? test.starts_with(pattern.substr(0, pattern.size() - 1)) : test == pattern;
    if (meant && std::strchr(exception.places, letter) != nullptr) return exception.reason;
  }
  return "";
}

Result<pid_t> start_in(Place place, const std::string& folder, const std::function<void()>& body) {
  if (place == Place::kHost) {
    const pid_t child = TRY(SYSCALL(::fork(), "fork"));
    if (child == 0) body();
    return child;
  }
  int ends[2], numbers[2];
  TRY(SYSCALL(::pipe2(ends, O_CLOEXEC), "pipe2"));
  Fd may_begin(ends[0]), begin(ends[1]);
  TRY(SYSCALL(::pipe2(numbers, O_CLOEXEC), "pipe2"));
  Fd number(numbers[0]), tell(numbers[1]);
  const std::string root = folder + "/root";
  const pid_t builder = TRY(SYSCALL(::fork(), "fork"));
  if (builder == 0) {
    begin = Fd();
    if (!lay_out_root(root, place)) ::_exit(103);
    const pid_t init = clone_init(place);
    if (init == 0) be_init(place, may_begin.get(), root, body);
    ::_exit(::write(tell.get(), &init, sizeof init) == sizeof init ? 0 : 104);
  }
  int status = 0;
  TRY(SYSCALL(::waitpid(builder, &status, 0), "waitpid"));
  pid_t init = -1;
  if (status == 0) TRY(SYSCALL(::read(number.get(), &init, sizeof init), "read"));
  if (init <= 0) return Error::unsupported(strf("no namespaces: builder ended with %#x", status));
  TRY(let_begin(place, init, begin, folder));
  return init;
}

}  // namespace ncr::test
