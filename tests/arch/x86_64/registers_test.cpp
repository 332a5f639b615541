#include "arch/x86_64/registers.h"

#include <gtest/gtest.h>
#include <sys/user.h>

namespace ncr::arch::x86_64 {
namespace {

Registers interrupted(uint64_t number, int64_t result) {
  Registers registers{};
  registers.rip = 0x1002;
  registers.orig_rax = number;
  registers.rax = static_cast<uint64_t>(result);
  registers.cs = 0x33;
  return registers;
}

#if defined(__x86_64__)
TEST(X86Registers, are_laid_out_as_the_kernel_has_them) {
  static_assert(sizeof(Registers) == sizeof(user_regs_struct));
  static_assert(offsetof(Registers, orig_rax) == offsetof(user_regs_struct, orig_rax));
  static_assert(offsetof(Registers, rsp) == offsetof(user_regs_struct, rsp));
  static_assert(offsetof(Registers, fs_base) == offsetof(user_regs_struct, fs_base));
  static_assert(offsetof(Registers, r10) == offsetof(user_regs_struct, r10));
}
#endif

TEST(X86Registers, a_call_that_restarts_is_issued_again_with_its_own_number) {
  for (int64_t result : {kRestartSys, kRestartNoIntr, kRestartNoHand}) {
    for (ResumeIn where : {ResumeIn::kSameTask, ResumeIn::kNewTask}) {
      const Registers after = resume_registers(interrupted(0, result), where);
      EXPECT_EQ(after.rip, 0x1000u);
      EXPECT_EQ(after.rax, 0u);
      EXPECT_EQ(after.orig_rax, kNoSyscall);
    }
  }
}

TEST(X86Registers, a_call_ends_when_a_handler_runs_unless_it_restarts) {
  EXPECT_TRUE(ends_by_handler(interrupted(34, kRestartNoHand), true));
  EXPECT_TRUE(ends_by_handler(interrupted(35, kRestartBlock), true));
  EXPECT_TRUE(ends_by_handler(interrupted(0, kRestartSys), false));
  EXPECT_FALSE(ends_by_handler(interrupted(0, kRestartSys), true));
  EXPECT_FALSE(ends_by_handler(interrupted(0, kRestartNoIntr), false));
  EXPECT_FALSE(ends_by_handler(interrupted(0, 17), false));
  EXPECT_FALSE(ends_by_handler(interrupted(kNoSyscall, kRestartNoHand), false));
  const Registers after = end_syscall(interrupted(34, kRestartNoHand));
  EXPECT_EQ(result(after), -4);
  EXPECT_EQ(after.rip, 0x1002u);
  EXPECT_FALSE(in_syscall(after));
}

TEST(X86Registers,
     a_call_with_a_restart_block_continues_in_the_same_task_and_begins_anew_in_a_new_one) {
  EXPECT_EQ(resume_registers(interrupted(35, kRestartBlock), ResumeIn::kSameTask).rax, 219u);
  EXPECT_EQ(resume_registers(interrupted(35, kRestartBlock), ResumeIn::kNewTask).rax, 35u);
  EXPECT_EQ(resume_registers(interrupted(35, kRestartBlock), ResumeIn::kNewTask).rip, 0x1000u);
}

TEST(X86Registers, a_call_that_the_kernel_restarted_once_gets_its_number_back_from_the_code) {
  const unsigned char clock_nanosleep[7] = {0xb8, 0xe6, 0, 0, 0, 0x0f, 0x05};
  const unsigned char other[7] = {0x48, 0x89, 0xc0, 0x90, 0x90, 0x0f, 0x05};
  const Registers twice = interrupted(219, kRestartBlock);
  EXPECT_TRUE(in_restarted_syscall(twice));
  EXPECT_FALSE(in_restarted_syscall(interrupted(35, kRestartBlock)));
  EXPECT_EQ(syscall_number_in_code(clock_nanosleep), 230);
  EXPECT_EQ(syscall_number_in_code(other), -1);
  EXPECT_EQ(resume_registers(twice, ResumeIn::kNewTask, 230).rax, 230u);
  EXPECT_EQ(resume_registers(twice, ResumeIn::kNewTask, 230).rip, 0x1000u);
  const Registers lost = resume_registers(twice, ResumeIn::kNewTask, -1);
  EXPECT_EQ(static_cast<int64_t>(lost.rax), -4);
  EXPECT_EQ(lost.rip, 0x1002u);
}

TEST(X86Registers, a_thread_in_its_own_code_or_after_a_finished_call_stays_where_it_is) {
  Registers computing = interrupted(0, kRestartSys);
  computing.orig_rax = kNoSyscall;
  EXPECT_EQ(resume_registers(computing, ResumeIn::kNewTask).rip, 0x1002u);
  EXPECT_EQ(static_cast<int64_t>(resume_registers(computing, ResumeIn::kNewTask).rax), kRestartSys);
  const Registers finished = resume_registers(interrupted(0, 17), ResumeIn::kNewTask);
  EXPECT_EQ(finished.rip, 0x1002u);
  EXPECT_EQ(finished.rax, 17u);
  EXPECT_EQ(finished.orig_rax, kNoSyscall);
}

TEST(X86Registers, code_in_compatibility_mode_is_told_apart) {
  Registers registers = interrupted(0, 0);
  EXPECT_TRUE(is_64bit(registers));
  registers.cs = 0x23;
  EXPECT_FALSE(is_64bit(registers));
}

TEST(X86Registers, a_call_of_ours_has_its_arguments_in_the_order_of_the_kernel) {
  Registers registers = interrupted(35, kRestartBlock);
  set_syscall(registers, 9, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(registers.rax, 9u);
  EXPECT_EQ(registers.orig_rax, kNoSyscall);
  EXPECT_EQ(registers.rdi, 1u);
  EXPECT_EQ(registers.rsi, 2u);
  EXPECT_EQ(registers.rdx, 3u);
  EXPECT_EQ(registers.r10, 4u);
  EXPECT_EQ(registers.r8, 5u);
  EXPECT_EQ(registers.r9, 6u);
}

}  // namespace
}  // namespace ncr::arch::x86_64
