// What the benchmarks checkpoint: a program of a given shape that touches its memory, says that it
// is ready, and then watches the clock. The shared file given as the third argument has the longest
// time it saw no progress, in ns, and behind it 1 once it is ready.
//   bench_target SHAPE SIZE STALL_FILE      SHAPE: memory_mb processes threads vmas descriptors
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr size_t kMiB = 1 << 20;

uint64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

char* map(size_t size) {
  void* area = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (area == MAP_FAILED) std::exit(1);
  return static_cast<char*>(area);
}

// Incompressible, and different in every page.
void fill(char* area, size_t size) {
  uint64_t state = 88172645463325252u;
  for (size_t at = 0; at < size; at += sizeof state) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    std::memcpy(area + at, &state, sizeof state);
  }
}

void take_shape(const std::string& shape, size_t size) {
  if (shape == "memory_mb") fill(map(size * kMiB), size * kMiB);
  if (shape == "threads")
    for (size_t i = 1; i < size; i++)
      std::thread([] {
        for (;;) pause();
      }).detach();
  if (shape == "vmas")
    for (size_t i = 0; i < size; i++) {
      char* page = map(2 * 4096);  // a page and a gap, so that neighbours do not merge
      *page = 1;
      mprotect(page + 4096, 4096, PROT_NONE);
    }
  if (shape == "descriptors")
    for (size_t i = 0; i < size; i++)
      if (open("/dev/null", O_RDONLY | O_CLOEXEC) < 0) std::exit(1);
  if (shape == "processes") {
    fill(map(kMiB), kMiB);
    for (size_t i = 0; i < size; i++)
      if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;) pause();
      }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  take_shape(argv[1], std::strtoul(argv[2], nullptr, 10));
  int file = open(argv[3], O_RDWR | O_CLOEXEC);
  auto* longest = static_cast<volatile uint64_t*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
  if (longest == MAP_FAILED) return 1;
  close(file);
  longest[1] = 1;
  for (uint64_t last = now_ns();;) {
    usleep(100);
    uint64_t now = now_ns();
    if (now - last > *longest) *longest = now - last;
    last = now;
  }
}
