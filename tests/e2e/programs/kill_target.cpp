// Two processes of two threads each that compute a chain with its values in registers and check it
// against a second computation. Writes a round counter per thread to the shared file given as the
// argument; a wrong value ends the process with status 3.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <thread>

namespace {

uint64_t step(uint64_t value) { return value * 6364136223846793005u + 1442695040888963407u; }

[[noreturn]] void compute(volatile uint64_t* rounds) {
  for (uint64_t seed = 1;; seed++) {
    uint64_t once = seed, twice = seed;
    double sum = 0;
    for (int i = 0; i < 20000; i++) {
      once = step(once);
      sum += 0.5;
    }
    for (int i = 0; i < 20000; i++) twice = step(twice);
    if (once != twice || sum != 10000.0) _exit(3);
    *rounds = *rounds + 1;
    if (seed % 8 == 0) usleep(500);  // so that some stops are inside a system call
  }
}

}  // namespace

int main(int, char** argv) {
  int file = open(argv[1], O_RDWR | O_CLOEXEC);
  auto* rounds = static_cast<volatile uint64_t*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
  close(file);
  int index = 0;
  if (fork() == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    index = 2;
  }
  std::thread(compute, rounds + index).detach();
  compute(rounds + index + 1);
}
