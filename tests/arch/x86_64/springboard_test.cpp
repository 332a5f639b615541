#include "arch/x86_64/springboard.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

namespace ncr::arch::x86_64 {
namespace {

bool is_syscall_at(const std::vector<unsigned char>& bytes, uint64_t offset) {
  return bytes.at(offset) == 0x0f && bytes.at(offset + 1) == 0x05;
}

TEST(X86Springboard, entries_are_where_they_are_said_to_be) {
  const LeaderBoard board = leader_board(0x1000, Registers{}, 0, 0x61000);
  EXPECT_TRUE(is_syscall_at(board.bytes, board.spare_call - 0x1000));
  EXPECT_TRUE(is_syscall_at(board.bytes, board.map_call - 0x1000));
  EXPECT_TRUE(is_syscall_at(board.bytes, board.unmap_call - 0x1000));
  const uint64_t jump = board.spare_call - 0x1000 + 5;  // syscall; mov rdi, r12
  EXPECT_EQ(board.bytes.at(jump), 0xeb);
  EXPECT_EQ(jump + 2 + board.bytes.at(jump + 1), board.leave - 0x1000);
  EXPECT_EQ(board.bytes.at(board.leave - 0x1000), 0xbe);  // mov esi, size
  uint32_t size = 0;
  std::memcpy(&size, &board.bytes.at(board.leave - 0x1000 + 1), 4);
  EXPECT_EQ(size, 0x61000u);
}

TEST(X86Springboard, fits_the_room_that_is_reserved_for_it) {
  EXPECT_LE(8 + leader_board(~uint64_t{0}, Registers{}, 0, 0).bytes.size(), kLeaderBoardRoom);
  EXPECT_LE(thread_board(~uint64_t{0}, Registers{}, 0, 0).bytes.size(), kThreadBoardRoom);
}

#if defined(__x86_64__)

constexpr size_t kAreaSize = 8 * 4096;
constexpr uint64_t kMask = uint64_t{1} << (SIGUSR1 - 1);

void* g_area;
uint32_t* g_lock;

// Where the springboard lands, with the registers it was told to load.
extern "C" void springboard_test_landing(uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e,
                                         uint64_t f) {
  if (a != 11 || b != 12 || c != 13 || d != 14 || e != 15 || f != 16) _exit(1);
  uint64_t mask = 0;
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, nullptr, &mask, sizeof mask);
  if (mask != kMask) _exit(2);
  unsigned char vector[8];
  if (g_area != nullptr && (mincore(g_area, kAreaSize, vector) != -1 || errno != ENOMEM)) _exit(3);
  if (g_lock != nullptr && *g_lock != 0) _exit(4);
  _exit(0);
}

Registers landing(void* stack_top) {
  Registers own{};
  own.rip = reinterpret_cast<uint64_t>(&springboard_test_landing);
  own.rsp = reinterpret_cast<uint64_t>(stack_top) - 8;
  own.rdi = 11;
  own.rsi = 12;
  own.rdx = 13;
  own.rcx = 14;
  own.r8 = 15;
  own.r9 = 16;
  return own;
}

template <class F>
int in_child(F&& body) {
  const pid_t child = fork();
  if (child == 0) {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, nullptr);
    body();
    _exit(100);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

unsigned char* map(size_t size) {
  return static_cast<unsigned char*>(
      mmap(nullptr, size, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

void jump(uint64_t to, uint64_t rax, uint64_t rdi, uint64_t rsi, uint64_t kept) {
  asm volatile(
      "mov %4, %%r12; xor %%edx, %%edx; xor %%r10d, %%r10d; xor %%r8d, %%r8d; xor %%r9d, %%r9d; "
      "jmp *%0" ::"r"(to),
      "a"(rax), "D"(rdi), "S"(rsi), "r"(kept)
      : "memory", "r12", "rdx", "r10", "r8", "r9");
}

TEST(X86Springboard, leaves_the_blob_with_the_area_gone_and_registers_and_mask_its_own) {
  EXPECT_EQ(in_child([] {
              unsigned char* code = map(4096);
              unsigned char* stack = map(65536);
              g_area = map(kAreaSize);
              const LeaderBoard board = leader_board(reinterpret_cast<uint64_t>(code),
                                                     landing(stack + 65536), kMask, kAreaSize);
              std::memcpy(code, board.bytes.data(), board.bytes.size());
              jump(board.leave, 0, reinterpret_cast<uint64_t>(g_area), 0, 0);
            }),
            0);
}

TEST(X86Springboard, undoes_a_mapping_that_nobody_took) {
  EXPECT_EQ(in_child([] {
              unsigned char* code = map(4096);
              unsigned char* stack = map(65536);
              const LeaderBoard board = leader_board(reinterpret_cast<uint64_t>(code),
                                                     landing(stack + 65536), kMask, kAreaSize);
              std::memcpy(code, board.bytes.data(), board.bytes.size());
              jump(board.map_call, SYS_getpid, 0, 0, 0);  // stands for an mmap that failed
            }),
            0);
}

TEST(X86Springboard, goes_on_to_unmap_after_the_socket_was_closed) {
  EXPECT_EQ(in_child([] {
              unsigned char* code = map(4096);
              unsigned char* stack = map(65536);
              g_area = map(kAreaSize);
              const LeaderBoard board = leader_board(reinterpret_cast<uint64_t>(code),
                                                     landing(stack + 65536), kMask, kAreaSize);
              std::memcpy(code, board.bytes.data(), board.bytes.size());
              jump(board.spare_call, SYS_close, 0, 0, reinterpret_cast<uint64_t>(g_area));
            }),
            0);
}

TEST(X86Springboard, a_thread_opens_the_lock_that_names_it) {
  EXPECT_EQ(in_child([] {
              unsigned char* code = map(4096);
              unsigned char* stack = map(65536);
              g_lock = reinterpret_cast<uint32_t*>(map(4096));
              *g_lock = static_cast<uint32_t>(getpid());
              const ThreadBoard board =
                  thread_board(reinterpret_cast<uint64_t>(code), landing(stack + 65536), kMask,
                               reinterpret_cast<uint64_t>(g_lock));
              std::memcpy(code, board.bytes.data(), board.bytes.size());
              jump(board.leave, 0, 0, 0, 0);
            }),
            0);
}

TEST(X86Springboard, a_thread_leaves_alone_what_took_the_place_of_the_lock) {
  EXPECT_EQ(in_child([] {
              unsigned char* code = map(4096);
              unsigned char* stack = map(65536);
              g_lock = reinterpret_cast<uint32_t*>(map(4096));
              *g_lock = 0x12345678;
              const ThreadBoard board =
                  thread_board(reinterpret_cast<uint64_t>(code), landing(stack + 65536), kMask,
                               reinterpret_cast<uint64_t>(g_lock));
              std::memcpy(code, board.bytes.data(), board.bytes.size());
              jump(board.leave, 0, 0, 0, 0);
            }),
            4);
}

#endif

}  // namespace
}  // namespace ncr::arch::x86_64
