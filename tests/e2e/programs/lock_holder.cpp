// Holds locks of every kind on files below its directory and says on its standard output, again and
// again, that it does.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

int open_file(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDWR | O_CREAT, 0600);
  if (fd < 0 || ::ftruncate(fd, 100) != 0) std::abort();
  return fd;
}

void lock_bytes(const std::string& path, int command, off_t start) {
  struct flock range {};
  range.l_type = F_WRLCK;
  range.l_start = start;
  range.l_len = 5;
  if (::fcntl(open_file(path), command, &range) != 0) std::abort();
}

}  // namespace

int main(int, char** argv) {
  std::string dir = argv[1];
  if (::flock(open_file(dir + "/flock"), LOCK_EX) != 0) std::abort();
  lock_bytes(dir + "/posix", F_SETLK, 10);
  lock_bytes(dir + "/description", F_OFD_SETLK, 20);
  for (int n = 1;; ++n) {
    std::printf("%d\n", n);
    std::fflush(stdout);
    ::usleep(50'000);
  }
}
