// What a thread computes with, in the middle of computing and in the middle of a system call.
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "tests/engine/resources/beside.h"

namespace ncr::test {
namespace {

struct alignas(64) Vectors {
  unsigned char bytes[16][32];
};

std::atomic<int> spinning{0};
std::atomic<int> stop_spinning{0};

#ifdef __x86_64__
// Fills the vector registers, spins without a system call until told to stop, and gives them back.
[[gnu::target("avx")]] void keep_in_vector_registers(const Vectors& in, Vectors& out) {
#define LOAD(n) "vmovdqa " #n "*32(%0), %%ymm" #n "\n"
#define SAVE(n) "vmovdqa %%ymm" #n ", " #n "*32(%1)\n"
#define ALL(x) x(0) x(1) x(2) x(3) x(4) x(5) x(6) x(7) x(8) x(9) x(10) x(11) x(12) x(13) x(14) x(15)
  asm volatile(ALL(LOAD) "movl $1, %2\n1: pause\ncmpl $0, %3\nje 1b\n" ALL(SAVE)
               :
               : "r"(&in), "r"(&out), "m"(spinning), "m"(stop_spinning)
               : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                 "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

CR_TEST(registers, keep_256_bit_vectors_of_a_computing_thread) {
  if (!__builtin_cpu_supports("avx")) return;
  static Vectors in;
  static Vectors out;
  for (size_t i = 0; i < sizeof in; i++)
    in.bytes[i / 32][i % 32] = static_cast<unsigned char>(i * 7 + 1);
  std::thread thread([] { keep_in_vector_registers(in, out); });
  await(spinning);
  checkpoint_restore();
  stop_spinning = 1;
  thread.join();
  EXPECT_EQ(memcmp(&in, &out, sizeof in), 0);
}

CR_TEST(registers, keep_general_registers_and_flags_of_a_computing_thread) {
  static uint64_t sum = 0;
  static uint64_t saved_flags = 0;
  std::thread thread([] {
    uint64_t result = 0;
    uint64_t flags = 0;
    asm volatile(
        "mov $0x1111, %%rbx\nmov $0x2222, %%r8\nmov $0x4444, %%r9\nmov $0x8888, %%r10\n"
        "mov $0x10000, %%r11\nmov $0x20000, %%r12\nmov $0x40000, %%r13\nmov $0x80000, %%r14\n"
        "mov $0x100000, %%r15\nmov $0x200000, %%rsi\nmov $0x400000, %%rdi\n"
        "movl $1, %2\n1: pause\ncmpl $0, %3\nje 1b\n"
        "stc\npushf\npop %1\n"
        "mov %%rbx, %0\nadd %%r8, %0\nadd %%r9, %0\nadd %%r10, %0\nadd %%r11, %0\nadd %%r12, %0\n"
        "add %%r13, %0\nadd %%r14, %0\nadd %%r15, %0\nadd %%rsi, %0\nadd %%rdi, %0\n"
        : "=&a"(result), "=&d"(flags)
        : "m"(spinning), "m"(stop_spinning)
        : "memory", "cc", "rbx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rsi",
          "rdi");
    sum = result;
    saved_flags = flags;
  });
  await(spinning);
  checkpoint_restore();
  stop_spinning = 1;
  thread.join();
  EXPECT_EQ(sum, 0x1111u + 0x2222 + 0x4444 + 0x8888 + 0x7f0000);
  EXPECT_EQ(saved_flags & 1, 1u);
}
#endif

thread_local int of_this_thread = 5;

CR_TEST(registers, keep_thread_local_storage) {
  static std::atomic<int> go;
  static int seen = 0;
  std::thread thread([] {
    of_this_thread = 6;
    await(go);
    seen = of_this_thread;
  });
  of_this_thread = 7;
  checkpoint_restore();
  go = 1;
  thread.join();
  EXPECT_EQ(seen, 6);
  EXPECT_EQ(of_this_thread, 7);
}

CR_TEST(registers, a_sleep_is_not_cut_short) {
  static int error = -1;
  static timespec left;
  std::thread thread([] {
    const timespec long_enough{1, 0};
    error = ::clock_nanosleep(CLOCK_MONOTONIC, 0, &long_enough, &left);
  });
  checkpoint_restore();
  thread.join();
  EXPECT_EQ(error, 0);
}

CR_TEST(registers, an_interrupted_poll_goes_on) {
  static int answer = -1;
  static int error = 0;
  std::thread thread([] {
    answer = ::poll(nullptr, 0, 1000);
    error = errno;
  });
  checkpoint_restore();
  thread.join();
  EXPECT_EQ(answer, 0) << strerror(error);
}

CR_TEST(registers, an_interrupted_read_gets_its_bytes) {
  static int ends[2];
  static char byte = 0;
  static ssize_t got = 0;
  ASSERT_EQ(::pipe(ends), 0);
  std::thread thread([] { got = ::read(ends[0], &byte, 1); });
  ::usleep(10'000);
  checkpoint_restore();
  ASSERT_EQ(::write(ends[1], "x", 1), 1);
  thread.join();
  EXPECT_EQ(got, 1);
  EXPECT_EQ(byte, 'x');
}

CR_TEST(registers, a_waiter_on_a_condition_variable_is_woken) {
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
  static bool said = false;
  static bool heard = false;
  std::thread thread([] {
    pthread_mutex_lock(&mutex);
    while (!said) pthread_cond_wait(&condition, &mutex);
    heard = true;
    pthread_mutex_unlock(&mutex);
  });
  checkpoint_restore();
  pthread_mutex_lock(&mutex);
  said = true;
  pthread_cond_signal(&condition);
  pthread_mutex_unlock(&mutex);
  thread.join();
  EXPECT_TRUE(heard);
}

volatile sig_atomic_t handled = 0;

// A stopped process keeps the signal pending: it comes when the process goes on, after the restore.
void restore_with_signal_pending(void (*wait)()) {
  auto* ready = static_cast<std::atomic<int>*>(
      ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const pid_t pid = fork_child([&] {
    struct sigaction action {};
    action.sa_handler = [](int) { handled = 1; };
    ::sigaction(SIGUSR1, &action, nullptr);
    *ready = 1;
    wait();
    EXPECT_EQ(errno, EINTR);
    EXPECT_EQ(handled, 1);
  });
  await(*ready);
  ::usleep(20'000);
  int status = 0;
  ASSERT_EQ(::kill(pid, SIGSTOP), 0);
  ASSERT_EQ(::waitpid(pid, &status, WUNTRACED), pid);
  ASSERT_EQ(::kill(pid, SIGUSR1), 0);
  checkpoint_restore();
  ASSERT_EQ(::kill(pid, SIGCONT), 0);
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0) << describe_exit(status);
}

CR_TEST(registers, a_signal_that_is_pending_ends_a_pause) {
  restore_with_signal_pending([] { ::pause(); });
}

CR_TEST(registers, a_signal_that_is_pending_ends_a_sleep) {
  restore_with_signal_pending([] {
    const timespec forever{10'000, 0};
    ::nanosleep(&forever, nullptr);
  });
}

CR_TEST(registers, a_signal_that_is_pending_ends_a_read) {
  static int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  restore_with_signal_pending([] {
    char byte = 0;
    EXPECT_EQ(::read(ends[0], &byte, 1), -1);
  });
}

}  // namespace
}  // namespace ncr::test
