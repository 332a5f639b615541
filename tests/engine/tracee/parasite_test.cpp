// Targets are real processes; what they must not notice, they check themselves. An engine that is
// to be killed is this program again, run with the hidden test at the end of this file.
#include "engine/tracee/parasite.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "arch/arch.h"
#include "engine/tracee/remote_call.h"

namespace ncr {
namespace {

struct NoSuchCommand {
  static constexpr uint32_t kId = wire::id("parasite_test.NoSuchCommand");
  struct Request {
    uint64_t value;
  };
  struct Reply {
    uint64_t value;
  };
};

// What a target tells the test, in memory they share.
struct Shared {
  std::atomic<uint32_t> ready;
  std::atomic<uint32_t> word;
  std::atomic<uint64_t> rounds;
  std::atomic<uint32_t> wrong;  // line of the check that failed
  std::atomic<uint64_t> thread_rounds[16];
};

#define TARGET_CHECK(condition)                 \
  do {                                          \
    if (!(condition)) shared->wrong = __LINE__; \
  } while (false)

#if defined(__x86_64__)
// Registers, flags, the red zone and SSE state over a stretch of pure computation. False if
// anything was lost.
bool compute_and_check() {
  uint64_t lost = 0;
  double sum = 1.5;
  asm volatile(
      "movq %[sum], %%xmm7\n movq %%xmm7, -120(%%rsp)\n"
      "mov $0x1111, %%r8\n mov $0x2222, %%r9\n mov $0x3333, %%r10\n mov $0x4444, %%r11\n"
      "mov $0x5555, %%r12\n mov $0x6666, %%r13\n mov $0x7777, %%r14\n mov $0x8888, %%r15\n"
      "mov $0x99aabbccddee, %%rdi\n mov $0xaaaa, %%rdx\n mov %%rdi, -8(%%rsp)\n mov $300, %%ecx\n "
      "stc\n std\n"
      "1: lea -1(%%rcx), %%rcx\n jrcxz 2f\n jmp 1b\n"
      "2: jnc 3f\n"
      "pushfq\n popq %%rcx\n cld\n test $0x400, %%rcx\n jz 3f\n"
      "cmp $0x1111, %%r8\n jne 3f\n cmp $0x2222, %%r9\n jne 3f\n cmp $0x3333, %%r10\n jne 3f\n cmp "
      "$0x4444, %%r11\n jne 3f\n"
      "cmp $0x5555, %%r12\n jne 3f\n cmp $0x6666, %%r13\n jne 3f\n cmp $0x7777, %%r14\n jne 3f\n "
      "cmp $0x8888, %%r15\n jne 3f\n"
      "cmp $0xaaaa, %%rdx\n jne 3f\n"
      "movq %%xmm7, %%rcx\n cmp -120(%%rsp), %%rcx\n jne 3f\n"
      "jmp 4f\n"
      "3: cld\n mov $1, %[lost]\n"
      "4:\n"
      : [lost] "+a"(lost)
      : [sum] "x"(sum)
      : "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rdi", "rdx", "rcx", "xmm7", "memory",
        "cc");
  return lost == 0;
}
#else
bool compute_and_check() { return true; }
#endif

void compute(Shared* shared) {
  shared->ready = 1;
  for (;;) {
    TARGET_CHECK(compute_and_check());
    shared->rounds++;
  }
}

uint64_t now_us() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
}

void nap(Shared* shared) {
  shared->ready = 1;
  for (;;) {
    const uint64_t start = now_us();
    const timespec time{0, 3'000'000};
    TARGET_CHECK(nanosleep(&time, nullptr) == 0);
    TARGET_CHECK(now_us() - start >= 3000);
    shared->rounds++;
  }
}

void poll_with_timeout(Shared* shared) {
  shared->ready = 1;
  for (;;) {
    const uint64_t start = now_us();
    TARGET_CHECK(poll(nullptr, 0, 3) == 0);
    TARGET_CHECK(now_us() - start >= 2900);
    shared->rounds++;
  }
}

void wait_on_futex(Shared* shared) {
  shared->ready = 1;
  for (;;) {
    while (shared->word == 0) {
      const long waited = syscall(SYS_futex, &shared->word, FUTEX_WAIT, 0, nullptr, nullptr, 0);
      TARGET_CHECK(waited == 0 || errno == EAGAIN);
    }
    shared->word = 0;
    shared->rounds++;
  }
}

int g_pipe[2];

void read_pipe(Shared* shared) {
  shared->ready = 1;
  for (;;) {
    char byte = 0;
    TARGET_CHECK(read(g_pipe[0], &byte, 1) == 1);
    TARGET_CHECK(byte == 'x');
    shared->rounds++;
  }
}

void sixteen_threads(Shared* shared) {
  for (int index = 0; index < 15; index++)
    std::thread([shared, index] {
      for (;;) {
        if (index % 3 == 0) {
          for (int round = 0; round < 20; round++) TARGET_CHECK(compute_and_check());
        }
        const timespec time{0, 2'000'000};
        TARGET_CHECK(nanosleep(&time, nullptr) == 0);
        shared->thread_rounds[index]++;
      }
    }).detach();
  nap(shared);
}

Shared* g_shared = nullptr;

void catch_all_signals(Shared* shared) {
  g_shared = shared;
  struct sigaction action {};
  action.sa_handler = [](int) { g_shared->wrong = __LINE__; };
  for (int signal = 1; signal < 32; signal++) sigaction(signal, &action, nullptr);
}

std::string actions_of(pid_t pid) {
  const std::string status =
      sys::read_file(("/proc/" + std::to_string(pid) + "/status").c_str()).take();
  return status.substr(status.find("SigIgn"), status.find("CapInh") - status.find("SigIgn"));
}

class Target {
 public:
  explicit Target(void (*body)(Shared*)) {
    shared_ = static_cast<Shared*>(
        mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    new (shared_) Shared{};
    pid_ = fork();
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      body(shared_);
      _exit(1);
    }
    while (shared_->ready == 0) usleep(100);
  }
  Target(const Target&) = delete;
  ~Target() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    munmap(shared_, 4096);
  }
  pid_t pid() const { return pid_; }
  Shared& shared() { return *shared_; }
  uint32_t wrong() const { return shared_->wrong; }
  bool is_alive() const {
    return kill(pid_, 0) == 0 && field("State").find_first_of("ZX") == std::string::npos;
  }

  std::string field(const std::string& name) const {
    const std::string status = sys::read_file(proc("status").c_str()).take();
    const size_t at = status.find("\n" + name + ":");
    return status.substr(at + 1, status.find('\n', at + 1) - at - 1);
  }
  std::string maps() const { return sys::read_file(proc("maps").c_str()).take(); }
  std::vector<std::string> descriptors() const {
    std::vector<std::string> all;
    DIR* dir = opendir(proc("fd").c_str());
    if (dir == nullptr) return all;
    while (dirent* entry = readdir(dir)) {
      char link[256] = {};
      const ssize_t length = readlinkat(dirfd(dir), entry->d_name, link, sizeof link - 1);
      all.push_back(std::string(entry->d_name) + (length > 0 ? link : ""));
    }
    closedir(dir);
    std::sort(all.begin(), all.end());
    return all;
  }
  // Everything of it that a parasite could leave behind.
  std::string traces() const {
    std::string all = maps() + field("TracerPid") + "\n" + field("SigBlk") + "\n";
    for (const std::string& each : descriptors()) all += each + "\n";
    return all;
  }
  bool comes_back_to(const std::string& before) const {
    for (int tries = 0; tries < 3000 && is_alive(); tries++) {
      if (traces() == before) return true;
      usleep(1000);
    }
    return false;
  }
  // One more round, poked if it waits for something.
  bool goes_on() {
    const uint64_t from = shared_->rounds;
    for (int tries = 0; tries < 3000; tries++) {
      if (shared_->rounds > from) return wrong() == 0;
      if (tries == 0) {
        (void)!write(g_pipe[1], "x", 1);
        shared_->word = 1;
        syscall(SYS_futex, &shared_->word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
      }
      usleep(1000);
    }
    return false;
  }

 private:
  std::string proc(const char* name) const { return "/proc/" + std::to_string(pid_) + "/" + name; }
  Shared* shared_ = nullptr;
  pid_t pid_ = 0;
};

Result<SeizedThread> stop(pid_t tid) {
  SeizedThread thread = TRY(SeizedThread::seize(tid));
  TRY(thread.interrupt());
  TRY(thread.wait_stop());
  return thread;
}

Result<> ask(Parasite& parasite) {
  Batch batch;
  const size_t ticket = batch.ask<NoSuchCommand>({1});
  TRY(parasite.run(batch));
  if (batch.error(ticket) != ENOSYS) return Error::malformed("an unknown command was not refused");
  return {};
}

Result<> visit_leader(pid_t pid) {
  SeizedThread leader = TRY(stop(pid));
  Parasite parasite = TRY(Parasite::infect(leader));
  TRY(ask(parasite));
  TRY(ask(parasite));
  TRY(parasite.cure());
  TRY(leader.detach());
  return {};
}

std::vector<pid_t> threads_of(pid_t pid) {
  std::vector<pid_t> tids;
  DIR* dir = opendir(("/proc/" + std::to_string(pid) + "/task").c_str());
  while (dirent* entry = readdir(dir))
    if (const pid_t tid = std::atoi(entry->d_name); tid > 0 && tid != pid) tids.push_back(tid);
  closedir(dir);
  return tids;
}

Result<> visit_threads(pid_t pid) {
  SeizedThread leader = TRY(stop(pid));
  std::vector<SeizedThread> threads;
  for (pid_t tid : threads_of(pid)) {
    SeizedThread thread = TRY(stop(tid));
    threads.push_back(std::move(thread));
  }
  Parasite parasite = TRY(Parasite::infect(leader));
  for (SeizedThread& thread : threads) {
    Batch batch;
    const size_t ticket = batch.ask<NoSuchCommand>({1});
    TRY(parasite.run_in_thread(thread, batch));
    if (batch.error(ticket) != ENOSYS)
      return Error::malformed("an unknown command was not refused");
  }
  TRY(ask(parasite));
  TRY(parasite.cure());
  for (SeizedThread& thread : threads) TRY(thread.detach());
  TRY(leader.detach());
  return {};
}

std::string text(const Result<>& result) { return result.ok() ? "" : result.error().text(); }

struct Case {
  const char* name;
  void (*body)(Shared*);
};

class ParasiteOn : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    ASSERT_EQ(pipe2(g_pipe, O_CLOEXEC), 0);
  }
  void TearDown() override {
    close(g_pipe[0]);
    close(g_pipe[1]);
  }
};

// ---- An engine that dies ----

enum class Visit { kLeader, kThreads };

pid_t start_engine(pid_t target, Visit visit, const char* mode, int point) {
  const pid_t engine = fork();
  if (engine != 0) return engine;
  setenv("PARASITE_TEST_TARGET", std::to_string(target).c_str(), 1);
  setenv("PARASITE_TEST_VISIT", visit == Visit::kThreads ? "threads" : "leader", 1);
  setenv("PARASITE_TEST_MODE", mode, 1);
  if (point > 0) setenv("NATIVECR_FAULT_KILL_AT", std::to_string(point).c_str(), 1);
  execl("/proc/self/exe", "engine", "--gtest_also_run_disabled_tests", "--gtest_brief=1",
        "--gtest_filter=ParasiteEngine.DISABLED_visits", nullptr);
  _exit(127);
}

int end_of(pid_t engine) {
  int status = 0;
  waitpid(engine, &status, 0);
  return status;
}

void engine_killed_at_every_point(Target& target, Visit visit) {
  const std::string before = target.traces();
  int point = 1;
  for (;; point++) {
    const int status = end_of(start_engine(target.pid(), visit, "once", point));
    ASSERT_TRUE(target.comes_back_to(before)) << "killed at point " << point << "\n"
                                              << target.traces();
    ASSERT_EQ(target.wrong(), 0u) << "killed at point " << point;
    if (WIFEXITED(status)) {
      EXPECT_EQ(WEXITSTATUS(status), 0);
      break;
    }
  }
  EXPECT_GT(point, 20) << "this needs a build with fault points";
  EXPECT_TRUE(target.goes_on());
}

void engine_killed_at_random(Target& target, Visit visit, int times, unsigned longest_us) {
  const std::string before = target.traces();
  std::mt19937 random(7);
  for (int time = 0; time < times; time++) {
    const pid_t engine = start_engine(target.pid(), visit, "forever", 0);
    while (target.field("TracerPid") == "TracerPid:\t0") usleep(50);
    usleep(static_cast<useconds_t>(random() % longest_us));
    kill(engine, SIGKILL);
    end_of(engine);
    ASSERT_TRUE(target.comes_back_to(before)) << "time " << time << "\n" << target.traces();
    ASSERT_EQ(target.wrong(), 0u) << "time " << time;
  }
  EXPECT_TRUE(target.goes_on());
}

// ---- The tests ----

TEST_P(ParasiteOn, enters_and_leaves_a_hundred_times_unnoticed) {
  Target target(GetParam().body);
  usleep(2000);
  const std::string before = target.traces();
  for (int time = 0; time < 100; time++) {
    ASSERT_EQ(text(visit_leader(target.pid())), "");
    ASSERT_EQ(target.wrong(), 0u) << "line of the target's failed check, time " << time;
    if (time % 3 == 0) usleep(1500);
  }
  EXPECT_TRUE(target.comes_back_to(before)) << target.traces();
  EXPECT_TRUE(target.goes_on());
}

TEST_P(ParasiteOn, an_engine_killed_at_any_fault_point_leaves_no_trace) {
  Target target(GetParam().body);
  usleep(2000);
  engine_killed_at_every_point(target, Visit::kLeader);
}

TEST_P(ParasiteOn, an_engine_killed_at_random_leaves_no_trace) {
  Target target(GetParam().body);
  usleep(2000);
  engine_killed_at_random(target, Visit::kLeader, 60, 3000);
}

void compute_catching_all(Shared* shared) {
  catch_all_signals(shared);
  compute(shared);
}

INSTANTIATE_TEST_SUITE_P(Targets, ParasiteOn,
                         ::testing::Values(Case{"computing", compute}, Case{"nanosleep", nap},
                                           Case{"poll", poll_with_timeout}, Case{"pipe", read_pipe},
                                           Case{"futex", wait_on_futex},
                                           Case{"catching_all_signals", compute_catching_all}),
                         [](const auto& chosen) { return chosen.param.name; });

class ParasiteTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
  }
};

TEST_F(ParasiteTest, runs_commands_in_every_thread) {
  Target target(sixteen_threads);
  usleep(5000);
  const std::string before = target.traces();
  for (int time = 0; time < 30; time++) {
    ASSERT_EQ(text(visit_threads(target.pid())), "");
    ASSERT_EQ(target.wrong(), 0u);
    usleep(500);
  }
  EXPECT_TRUE(target.comes_back_to(before)) << target.traces();
  for (int index = 0; index < 15; index++) {
    const uint64_t from = target.shared().thread_rounds[index];
    for (int tries = 0; tries < 3000 && target.shared().thread_rounds[index] == from; tries++)
      usleep(1000);
    EXPECT_GT(target.shared().thread_rounds[index], from) << "thread " << index;
  }
}

TEST_F(ParasiteTest, an_engine_killed_at_any_fault_point_among_threads_leaves_no_trace) {
  Target target(sixteen_threads);
  usleep(5000);
  engine_killed_at_every_point(target, Visit::kThreads);
}

TEST_F(ParasiteTest, an_engine_killed_at_random_among_threads_leaves_no_trace) {
  Target target(sixteen_threads);
  usleep(5000);
  engine_killed_at_random(target, Visit::kThreads, 100, 6000);
}

TEST_F(ParasiteTest, threads_of_a_process_that_catches_all_signals_do_not_notice) {
  Target target([](Shared* shared) {
    catch_all_signals(shared);
    sixteen_threads(shared);
  });
  usleep(5000);
  const std::string before = target.traces() + actions_of(target.pid());
  for (int time = 0; time < 10; time++) ASSERT_EQ(text(visit_threads(target.pid())), "");
  engine_killed_at_random(target, Visit::kThreads, 50, 6000);
  EXPECT_EQ(target.traces() + actions_of(target.pid()), before);
  EXPECT_EQ(target.wrong(), 0u);
}

TEST_F(ParasiteTest, the_signal_by_which_it_stops_may_come_from_others_meanwhile) {
  Target target(compute);
  std::atomic<bool> enough{false};
  std::thread sender([&] {
    while (!enough) {
      kill(target.pid(), SIGURG);
      usleep(20);
    }
  });
  for (int time = 0; time < 300; time++) EXPECT_EQ(text(visit_leader(target.pid())), "");
  enough = true;
  sender.join();
  EXPECT_TRUE(target.goes_on());
}

TEST_F(ParasiteTest, a_stopped_task_is_stopped_again) {
  Target target(nap);
  const std::string before = target.traces();
  kill(target.pid(), SIGSTOP);
  while (target.field("State").find("T (stopped)") == std::string::npos) usleep(100);
  for (int time = 0; time < 20; time++) {
    ASSERT_EQ(text(visit_leader(target.pid())), "");
    for (int tries = 0;
         tries < 1000 && target.field("State").find("T (stopped)") == std::string::npos; tries++)
      usleep(100);
    ASSERT_NE(target.field("State").find("T (stopped)"), std::string::npos)
        << target.field("State");
    const uint64_t rounds = target.shared().rounds;
    usleep(6000);
    ASSERT_EQ(target.shared().rounds, rounds);
  }
  end_of(start_engine(target.pid(), Visit::kLeader, "die infected", 0));
  usleep(2000);
  EXPECT_NE(target.field("State").find("T (stopped)"), std::string::npos) << target.field("State");
  kill(target.pid(), SIGCONT);
  EXPECT_TRUE(target.comes_back_to(before)) << target.traces();
  EXPECT_TRUE(target.goes_on());
}

TEST_F(ParasiteTest, an_engine_that_dies_while_it_waits_leaves_no_trace) {
  Target target(nap);
  const std::string before = target.traces();
  for (int time = 0; time < 10; time++) {
    EXPECT_TRUE(WIFSIGNALED(end_of(start_engine(target.pid(), Visit::kLeader, "die infected", 0))));
    EXPECT_TRUE(target.comes_back_to(before)) << target.traces();
  }
  EXPECT_TRUE(target.goes_on());
}

TEST_F(ParasiteTest, signals_that_arrive_meanwhile_are_delivered_after) {
  Target target([](Shared* shared) {
    static Shared* all = shared;
    struct sigaction action {};
    action.sa_handler = [](int) { all->word++; };
    sigaction(SIGUSR1, &action, nullptr);
    sigaction(SIGRTMIN, &action, nullptr);
    shared->ready = 1;
    for (;;) {
      TARGET_CHECK(pause() == -1 && errno == EINTR);
      shared->rounds++;
    }
  });
  usleep(2000);
  Result<SeizedThread> leader = stop(target.pid());
  ASSERT_TRUE(leader.ok());
  Result<Parasite> parasite = Parasite::infect(leader.value());
  ASSERT_TRUE(parasite.ok()) << parasite.error().text();
  kill(target.pid(), SIGUSR1);
  kill(target.pid(), SIGRTMIN);
  EXPECT_EQ(text(ask(parasite.value())), "");
  EXPECT_EQ(target.shared().word, 0u);
  EXPECT_EQ(text(parasite.value().cure()), "");
  EXPECT_EQ(text(leader.value().detach()), "");
  for (int tries = 0; tries < 1000 && target.shared().rounds == 0; tries++) usleep(1000);
  EXPECT_EQ(target.shared().word, 2u);
  EXPECT_EQ(target.shared().rounds, 1u) << "pause() ends once, with both handlers run";
  EXPECT_EQ(target.wrong(), 0u);
}

TEST_F(ParasiteTest, a_stop_signal_that_arrives_meanwhile_takes_effect_after) {
  Target target(nap);
  Result<SeizedThread> leader = stop(target.pid());
  ASSERT_TRUE(leader.ok());
  Result<Parasite> parasite = Parasite::infect(leader.value());
  ASSERT_TRUE(parasite.ok()) << parasite.error().text();
  kill(target.pid(), SIGSTOP);
  EXPECT_EQ(text(ask(parasite.value())), "");
  EXPECT_EQ(text(parasite.value().cure()), "");
  EXPECT_EQ(text(leader.value().detach()), "");
  for (int tries = 0;
       tries < 1000 && target.field("State").find("T (stopped)") == std::string::npos; tries++)
    usleep(1000);
  EXPECT_NE(target.field("State").find("T (stopped)"), std::string::npos) << target.field("State");
  kill(target.pid(), SIGCONT);
  EXPECT_TRUE(target.goes_on());
}

TEST_F(ParasiteTest, a_target_that_is_killed_is_gone_and_nothing_hangs) {
  for (int time = 0; time < 100; time++) {
    Target target(time % 2 == 0 ? nap : sixteen_threads);
    const pid_t pid = target.pid();
    std::thread killer([pid, time] {
      usleep(static_cast<useconds_t>((time * 37) % 1500));
      kill(pid, SIGKILL);
    });
    Result<> visited;
    while (visited.ok()) visited = time % 2 == 0 ? visit_leader(pid) : visit_threads(pid);
    killer.join();
    EXPECT_EQ(visited.error().code(), ErrorCode::kGone) << visited.error().text();
  }
}

TEST_F(ParasiteTest, a_target_that_can_have_no_more_descriptors_does_not_notice) {
  Target target([](Shared* shared) {
    const rlimit limit{3, 3};
    setrlimit(RLIMIT_NOFILE, &limit);
    nap(shared);
  });
  const std::string before = target.traces();
  EXPECT_EQ(text(visit_leader(target.pid())), "");
  EXPECT_TRUE(target.comes_back_to(before)) << target.traces();
  EXPECT_TRUE(target.goes_on());
}

TEST_F(ParasiteTest, a_target_without_a_vdso_is_entered_through_its_own_text) {
  Target target([](Shared* shared) {
    const std::string maps = sys::read_file("/proc/self/maps").take();
    const size_t line = maps.rfind('\n', maps.find("[vdso]")) + 1;
    char* end = nullptr;
    const uint64_t from = std::strtoull(maps.c_str() + line, &end, 16);
    const uint64_t to = std::strtoull(end + 1, nullptr, 16);
    TARGET_CHECK(syscall(SYS_munmap, from, to - from) == 0);
    compute(shared);
  });
  const std::string before = target.traces();
  ASSERT_EQ(before.find("[vdso]"), std::string::npos);
  for (int time = 0; time < 20; time++) ASSERT_EQ(text(visit_leader(target.pid())), "");
  EXPECT_TRUE(WIFSIGNALED(end_of(start_engine(target.pid(), Visit::kLeader, "die infected", 0))));
  EXPECT_TRUE(target.comes_back_to(before)) << target.traces();
  EXPECT_TRUE(target.goes_on());
}

TEST_F(ParasiteTest, a_target_under_strict_seccomp_does_not_notice) {
  Target target([](Shared* shared) {
    shared->ready = 1;
    syscall(SYS_prctl, PR_SET_SECCOMP, 1, 0, 0, 0);
    compute(shared);
  });
  usleep(1000);
  for (int time = 0; time < 10; time++) ASSERT_EQ(text(visit_leader(target.pid())), "");
  EXPECT_TRUE(target.goes_on());
}

TEST_F(ParasiteTest, two_engines_do_not_meet_in_one_target) {
  Target target(nap);
  Result<SeizedThread> first = stop(target.pid());
  ASSERT_TRUE(first.ok());
  EXPECT_TRUE(WIFEXITED(end_of(start_engine(target.pid(), Visit::kLeader, "once", 0))));
  EXPECT_EQ(text(first.value().detach()), "");
  EXPECT_TRUE(target.goes_on());
}

}  // namespace

// Not a test: the engine of the tests above, in a process of its own.
TEST(ParasiteEngine, DISABLED_visits) {
  const char* target = std::getenv("PARASITE_TEST_TARGET");
  if (target == nullptr) GTEST_SKIP();
  const pid_t pid = std::atoi(target);
  const std::string mode = std::getenv("PARASITE_TEST_MODE");
  const bool threads = std::string(std::getenv("PARASITE_TEST_VISIT")) == "threads";
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (mode == "die infected") {
    Result<SeizedThread> leader = stop(pid);
    Result<Parasite> parasite = Parasite::infect(leader.value());
    ASSERT_TRUE(parasite.ok()) << parasite.error().text();
    ASSERT_EQ(text(ask(parasite.value())), "");
    raise(SIGKILL);
  }
  do {
    Result<> visited = threads ? visit_threads(pid) : visit_leader(pid);
    // The engine before this one was killed a moment ago, and the target may not have had the
    // processor since.
    for (int tries = 0;
         !visited.ok() && tries < 1000 && visited.error().code() == ErrorCode::kUnsupported;
         tries++) {
      usleep(1000);
      visited = threads ? visit_threads(pid) : visit_leader(pid);
    }
    if (!visited.ok()) std::fprintf(stderr, "engine: %s\n", visited.error().text().c_str());
    if (!visited.ok()) _exit(3);
  } while (mode == "forever");
  _exit(0);
}

}  // namespace ncr
