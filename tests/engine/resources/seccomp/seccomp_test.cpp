#include "engine/resources/seccomp/seccomp.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <thread>

#include "engine/resources/seccomp/filter_table.h"
#include "engine/resources/seccomp/seccomp_plan.h"
#include "tests/engine/resources/beside.h"

namespace ncr::seccomp {
namespace {

std::string program_of(std::initializer_list<sock_filter> instructions) {
  std::string bytes;
  for (const sock_filter& instruction : instructions)
    bytes.append(reinterpret_cast<const char*>(&instruction), sizeof instruction);
  return bytes;
}

const sock_filter kAllow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);

TEST(seccomp, a_program_that_asks_a_listener_is_told) {
  EXPECT_FALSE(asks_a_listener(program_of({kAllow})));
  // A constant of that value elsewhere is no answer.
  EXPECT_FALSE(
      asks_a_listener(program_of({BPF_STMT(BPF_LD | BPF_IMM, SECCOMP_RET_USER_NOTIF), kAllow})));
  EXPECT_TRUE(
      asks_a_listener(program_of({kAllow, BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF)})));
}

class SeccompPlan : public ::testing::Test {
 protected:
  void add_thread(std::initializer_list<uint32_t> filters) {
    schema::Thread* thread = record_.add_threads();
    thread->set_seccomp_mode(filters.size() != 0 ? 2 : 0);
    for (uint32_t id : filters) {
      thread->add_seccomp_filters(id);
      image_.seccomp_filters[id].set_program(program_of({kAllow}));
    }
  }
  void plan() {
    task_.record = &record_;
    task_.thread_steps.resize(static_cast<size_t>(record_.threads_size()));
    plan_filters(image_, task_);
  }
  static std::vector<uint32_t> flags_of(const StepList& steps) {
    std::vector<uint32_t> flags;
    const std::string bytes = steps.encode(wire::Stage::kLate, wire::Stage::kLate);
    for (size_t at = 0; at < bytes.size();) {
      wire::StepHeader header;
      Install step;
      std::memcpy(&header, bytes.data() + at, sizeof header);
      std::memcpy(&step, bytes.data() + at + sizeof header, sizeof step);
      EXPECT_EQ(header.id, Install::kId);
      flags.push_back(step.flags);
      at += sizeof header + wire::padded(header.size);
    }
    return flags;
  }

  Image image_;
  schema::Task record_;
  TaskPlan task_;
};

TEST_F(SeccompPlan, what_all_threads_begin_with_is_installed_once_for_all) {
  add_thread({1, 2});
  add_thread({1, 3});
  image_.seccomp_filters[3].set_log(true);
  plan();
  const uint32_t always = SECCOMP_FILTER_FLAG_SPEC_ALLOW;
  EXPECT_EQ(flags_of(task_.steps), std::vector<uint32_t>{always | SECCOMP_FILTER_FLAG_TSYNC});
  EXPECT_EQ(flags_of(task_.thread_steps[0]), std::vector<uint32_t>{always});
  EXPECT_EQ(flags_of(task_.thread_steps[1]),
            std::vector<uint32_t>{always | SECCOMP_FILTER_FLAG_LOG});
}

TEST_F(SeccompPlan, a_task_without_filters_is_not_traced_for_them) {
  add_thread({});
  plan();
  EXPECT_FALSE(has_filters(record_));
  EXPECT_TRUE(flags_of(task_.steps).empty());
}

TEST_F(SeccompPlan, a_leader_that_has_exited_installs_nothing) {
  record_.set_dead_leader(true);
  add_thread({});
  add_thread({1});
  plan();
  EXPECT_TRUE(flags_of(task_.steps).empty());
  EXPECT_TRUE(flags_of(task_.thread_steps[0]).empty());
  EXPECT_EQ(flags_of(task_.thread_steps[1]).size(), 1u);
}

}  // namespace
}  // namespace ncr::seccomp

namespace ncr::test {
namespace {

constexpr auto kNumber = static_cast<uint32_t>(offsetof(seccomp_data, nr));

// One system call gets an errno of its own, all others pass.
bool forbid(long number, int error, unsigned flags = 0) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kNumber),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(number), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<uint32_t>(error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog whole{static_cast<unsigned short>(std::size(program)), program};
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &whole) == 0;
}

int error_of_uname() {
  utsname name;
  return uname(&name) == 0 ? 0 : errno;
}

std::string status_field(const char* name) {
  std::string text = MUST(sys::read_file("/proc/thread-self/status"));
  return std::string(proc::field(text, name));
}

CR_TEST(seccomp, a_container_that_gave_up_the_right_to_install_filters) {
  checkpoint_beside(
      [] {
        ASSERT_TRUE(forbid(SYS_uname, EBADMSG));
        ASSERT_TRUE(forbid(SYS_sysinfo, EXDEV, SECCOMP_FILTER_FLAG_LOG));
        ASSERT_TRUE(forbid(SYS_uname, ENOLINK));  // the newer answer of two equals wins
        ASSERT_EQ(prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN), 0);
        ASSERT_EQ(setgroups(0, nullptr), 0);
        ASSERT_EQ(setresgid(1000, 1000, 1000), 0);
        ASSERT_EQ(setresuid(1000, 1000, 1000), 0);
        ASSERT_EQ(error_of_uname(), ENOLINK);
      },
      [] {
        EXPECT_EQ(error_of_uname(), ENOLINK);
        EXPECT_EQ(syscall(SYS_sysinfo, nullptr), -1);
        EXPECT_EQ(errno, EXDEV);
        EXPECT_EQ(status_field("Seccomp_filters"), "3");
        EXPECT_EQ(status_field("NoNewPrivs"), "0");
        EXPECT_EQ(getuid(), 1000u);
        EXPECT_FALSE(forbid(SYS_uname, EBADMSG));  // it has not the right any more
      });
}

// Allows what a process needs that waits in beside.h and ends, and not one call that a checkpoint
// makes in it.
bool allow_only_waiting() {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kNumber),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_nanosleep, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_nanosleep, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_restart_syscall, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
  };
  sock_fprog whole{static_cast<unsigned short>(std::size(program)), program};
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &whole) == 0;
}

CR_TEST(seccomp, a_filter_that_kills_at_every_call_of_ours) {
  checkpoint_beside(
      [] {
        ASSERT_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        ASSERT_TRUE(allow_only_waiting());
      },
      [] {});
}

CR_TEST(seccomp, strict_mode) {
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  auto* flags = new (page) Beside;
  pid_t pid = fork_child([&] {
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) return;
    flags->ready = 1;
    while (flags->go == 0) {
    }
    if (flags->go == 1) syscall(SYS_exit, 0);
    syscall(SYS_getpid);
  });
  await(flags->ready);
  checkpoint_restore();
  std::string status = MUST(sys::read_file(strf("/proc/%d/status", pid).c_str()));
  EXPECT_EQ(proc::field(status, "Seccomp"), "1");
  flags->go = 2;
  int how = 0;
  ASSERT_EQ(::waitpid(pid, &how, 0), pid);
  EXPECT_TRUE(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL) << describe_exit(how);
}

std::atomic<int> filtered;
std::atomic<int> proceed;

CR_TEST(seccomp, threads_have_filters_of_their_own_and_in_common) {
  static int seen = -1;
  static int seen_common = -1;
  ASSERT_TRUE(forbid(SYS_sysinfo, EXDEV));
  std::thread thread([] {
    filtered = forbid(SYS_uname, EBADMSG) ? 1 : 2;
    await(proceed);
    seen = error_of_uname();
    seen_common = syscall(SYS_sysinfo, nullptr) == 0 ? 0 : errno;
  });
  await(filtered);
  ASSERT_EQ(filtered, 1);
  checkpoint_restore();
  proceed = 1;
  thread.join();
  EXPECT_EQ(seen, EBADMSG);
  EXPECT_EQ(seen_common, EXDEV);
  EXPECT_EQ(error_of_uname(), 0);
  EXPECT_EQ(status_field("Seccomp_filters"), "1");
}

std::atomic<int> proceed_together;

CR_TEST(seccomp, filters_of_all_threads_stay_one_chain) {
  static std::string seen;
  ASSERT_TRUE(forbid(SYS_sysinfo, EXDEV));
  std::thread thread([] {
    await(proceed_together);
    seen = status_field("Seccomp_filters");
  });
  checkpoint_restore();
  EXPECT_TRUE(forbid(SYS_uname, EBADMSG, SECCOMP_FILTER_FLAG_TSYNC));
  proceed_together = 1;
  thread.join();
  EXPECT_EQ(seen, "2");
}

// As long as a container engine's default profile: one comparison after the other, and answers at
// the end of each block, for a jump reaches 255 instructions.
bool install_long_filter() {
  constexpr uint32_t kCalls = 1500;
  std::vector<sock_filter> program = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offsetof(seccomp_data, arch))),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW), BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kNumber)};
  for (uint32_t call = 0; call < kCalls; call++) {
    const uint32_t number = call == 0 ? SYS_uname : 5000 + call;
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (call == 0 ? EBADMSG : 1)));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  sock_fprog whole{static_cast<unsigned short>(program.size()), program.data()};
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &whole) == 0;
}

CR_TEST(seccomp, a_program_of_thousands_of_instructions_in_several_processes) {
  ASSERT_TRUE(install_long_filter());
  checkpoint_beside([] { ASSERT_EQ(error_of_uname(), EBADMSG); },
                    [] { EXPECT_EQ(error_of_uname(), EBADMSG); });
  EXPECT_EQ(error_of_uname(), EBADMSG);
}

CR_TEST_WITH(seccomp, a_filter_that_notifies_is_named,
             .refused_with = "asks a listener (SECCOMP_RET_USER_NOTIF)") {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kNumber),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sysinfo, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog whole{static_cast<unsigned short>(std::size(program)), program};
  ASSERT_EQ(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &whole), 0);
  checkpoint_restore();
}

}  // namespace
}  // namespace ncr::test
