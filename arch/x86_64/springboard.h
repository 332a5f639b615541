// The springboard of docs/adr/0001, as bytes for a given address. Pure: nothing here touches a
// task.
//
// Only mov, jmp and syscall, none of which changes flags. rsp becomes the thread's own before its
// signal mask does, because a signal that was held back is delivered right then and needs the
// thread's own stack. `syscall` itself only destroys rax, rcx and r11, which are loaded last.
//
//   K: syscall ; mov rdi, r12 ; jmp X      a call of the engine's choice, then X
//   A: syscall ; mov rdi, rax              mmap, and undo it
//   X: mov esi, size ; mov eax, munmap ; syscall
//   C: rsp, rt_sigprocmask, every register, jmp *ip
//
//   T: futex(lock, FUTEX_UNLOCK_PI)  C     a thread that is not the leader: the blob is the
//   leader's to unmap
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "arch/x86_64/registers.h"

namespace ncr::arch::x86_64 {

constexpr uint32_t kMmap = 9, kMunmap = 11, kSigprocmask = 14, kFutex = 202, kSigaction = 13;

// What the boards may take at most; tests hold the builders to it.
constexpr size_t kLeaderBoardRoom = 272, kThreadBoardRoom = 240;

class Code {
 public:
  explicit Code(uint64_t base) : base_(base) {}
  uint64_t here() const { return base_ + bytes_.size(); }
  uint32_t offset() const { return static_cast<uint32_t>(bytes_.size()); }
  std::vector<unsigned char> take() { return std::move(bytes_); }

  void raw(std::initializer_list<unsigned char> bytes) { bytes_.insert(bytes_.end(), bytes); }
  void number(uint64_t value, unsigned size) {
    for (unsigned byte = 0; byte < size; byte++)
      bytes_.push_back(static_cast<unsigned char>(value >> (8 * byte)));
  }
  void patch(uint32_t offset, uint32_t value) {
    for (unsigned byte = 0; byte < 4; byte++)
      bytes_[offset + byte] = static_cast<unsigned char>(value >> (8 * byte));
  }
  void syscall() { raw({0x0f, 0x05}); }
  void mov32(unsigned reg, uint32_t value) {  // zero-extends
    if (reg >= 8) raw({0x41});
    raw({static_cast<unsigned char>(0xb8 + (reg & 7))});
    number(value, 4);
  }
  void mov64(unsigned reg, uint64_t value) {
    raw({static_cast<unsigned char>(reg >= 8 ? 0x49 : 0x48),
         static_cast<unsigned char>(0xb8 + (reg & 7))});
    number(value, 8);
  }

 private:
  uint64_t base_;
  std::vector<unsigned char> bytes_;
};

enum Reg : unsigned {
  kRax,
  kRcx,
  kRdx,
  kRbx,
  kRsp,
  kRbp,
  kRsi,
  kRdi,
  kR8,
  kR9,
  kR10,
  kR11,
  kR12,
  kR13,
  kR14,
  kR15
};

// C: everything of the thread's own, and away.
inline void emit_resume(Code& code, const Registers& own, uint64_t mask) {
  constexpr uint32_t kSetMask = 2;
  code.mov64(kRsp, own.rsp);
  code.mov32(kRax, kSigprocmask);
  code.mov32(kRdi, kSetMask);
  code.raw({0x48, 0x8d, 0x35});  // lea rsi, [rip + mask]
  const uint32_t to_mask = code.offset();
  code.number(0, 4);
  code.mov32(kRdx, 0);
  code.mov32(kR10, sizeof mask);
  code.syscall();
  const struct {
    Reg reg;
    uint64_t value;
  } values[] = {{kRax, own.rax}, {kRcx, own.rcx}, {kRdx, own.rdx}, {kRbx, own.rbx},
                {kRbp, own.rbp}, {kRsi, own.rsi}, {kRdi, own.rdi}, {kR8, own.r8},
                {kR9, own.r9},   {kR10, own.r10}, {kR11, own.r11}, {kR12, own.r12},
                {kR13, own.r13}, {kR14, own.r14}, {kR15, own.r15}};
  for (const auto& each : values) code.mov64(each.reg, each.value);
  code.raw({0xff, 0x25});  // jmp [rip + 0]
  code.number(0, 4);
  code.number(own.rip, 8);
  code.patch(to_mask, code.offset() - (to_mask + 4));
  code.number(mask, 8);
}

struct LeaderBoard {
  std::vector<unsigned char> bytes;
  uint64_t spare_call;  // K
  uint64_t map_call;    // A
  uint64_t leave;       // X: where the blob jumps, the area in rdi
  uint64_t unmap_call;  // the `syscall` of X
};

struct ThreadBoard {
  std::vector<unsigned char> bytes;  // empty: own.ip cannot be reached from here
  uint64_t leave;                    // T
};

// `own` as resume_registers() gave it.
inline LeaderBoard leader_board(uint64_t base, const Registers& own, uint64_t mask,
                                uint32_t area_size) {
  LeaderBoard board{};
  Code code(base);
  board.spare_call = code.here();
  code.syscall();
  code.raw({0x4c, 0x89, 0xe7});  // mov rdi, r12
  code.raw({0xeb, 0x05});        // jmp X
  board.map_call = code.here();
  code.syscall();
  code.raw({0x48, 0x89, 0xc7});  // mov rdi, rax
  board.leave = code.here();
  code.mov32(kRsi, area_size);
  code.mov32(kRax, kMunmap);
  board.unmap_call = code.here();
  code.syscall();
  emit_resume(code, own, mask);
  board.bytes = code.take();
  return board;
}

// `lock`: the word in the area that says which thread is inside. The kernel clears it only if it
// names this thread, and a page that is gone is no harm: the leader may have left before this
// thread was let go.
inline ThreadBoard thread_board(uint64_t base, const Registers& own, uint64_t mask, uint64_t lock) {
  constexpr uint32_t kUnlockPiPrivate = 7 | 128;
  ThreadBoard board{};
  Code code(base);
  board.leave = code.here();
  code.mov64(kRdi, lock);
  code.mov32(kRsi, kUnlockPiPrivate);
  code.mov32(kRax, kFutex);
  code.syscall();
  emit_resume(code, own, mask);
  board.bytes = code.take();
  return board;
}

}  // namespace ncr::arch::x86_64
