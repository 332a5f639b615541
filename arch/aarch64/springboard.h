// The springboard of docs/adr/0001, as bytes for a given address. Pure: nothing here touches a
// task.
//
// The same story as on x86_64 in movz/movk, svc and b. There is no jump through memory without a
// register to hold the target, so the last jump is a direct one and reaches 128 MiB: a springboard
// must be placed near the thread's own code (the tail of the program's own text mapping). Out of
// reach the builders give no bytes, and the caller says so.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "arch/aarch64/registers.h"

namespace ncr::arch::aarch64 {

constexpr uint32_t kMmap = 222, kMunmap = 215, kSigprocmask = 135, kFutex = 98, kSigaction = 134;

// What the boards may take at most; tests hold the builders to it.
constexpr size_t kLeaderBoardRoom = 704, kThreadBoardRoom = 704;

class Code {
 public:
  explicit Code(uint64_t base) : base_(base) {}
  uint64_t here() const { return base_ + bytes_.size(); }
  std::vector<unsigned char> take() { return std::move(bytes_); }

  void word(uint32_t value) {
    for (unsigned byte = 0; byte < 4; byte++)
      bytes_.push_back(static_cast<unsigned char>(value >> (8 * byte)));
  }
  void svc() { word(0xd4000001); }
  void mov(unsigned reg, uint64_t value) {
    for (unsigned part = 0; part < 4; part++) {
      const auto half = static_cast<uint32_t>(value >> (16 * part)) & 0xffff;
      if (part == 0 || half != 0)
        word((part == 0 ? 0xd2800000u : 0xf2800000u) | part << 21 | half << 5 | reg);
    }
  }
  void mov_register(unsigned to, unsigned from) { word(0xaa0003e0u | from << 16 | to); }
  void mov_to_sp(unsigned from) { word(0x9100001fu | from << 5); }
  // False if `target` is farther than the instruction can say.
  bool branch(uint64_t target) {
    const int64_t distance = static_cast<int64_t>(target - here());
    constexpr int64_t kReach = 128 << 20;
    if (distance < -kReach || distance >= kReach || (distance & 3) != 0) return false;
    word(0x14000000u | (static_cast<uint32_t>(distance >> 2) & 0x3ffffffu));
    return true;
  }
  void data(uint64_t value) {
    word(static_cast<uint32_t>(value));
    word(static_cast<uint32_t>(value >> 32));
  }

 private:
  uint64_t base_;
  std::vector<unsigned char> bytes_;
};

// C: everything of the thread's own, and away. `mask_address` holds the mask.
inline bool emit_resume(Code& code, const Registers& own, uint64_t mask_address) {
  constexpr uint64_t kSetMask = 2;
  code.mov(0, own.sp_el0);
  code.mov_to_sp(0);
  code.mov(8, kSigprocmask);
  code.mov(0, kSetMask);
  code.mov(1, mask_address);
  code.mov(2, 0);
  code.mov(3, sizeof(uint64_t));
  code.svc();
  for (unsigned reg = 0; reg < 31; reg++) code.mov(reg, own.x[reg]);
  return code.branch(own.pc);
}

struct LeaderBoard {
  std::vector<unsigned char> bytes;  // empty: own.ip cannot be reached from here
  uint64_t spare_call;
  uint64_t map_call;
  uint64_t leave;
  uint64_t unmap_call;
};

struct ThreadBoard {
  std::vector<unsigned char> bytes;  // empty: own.ip cannot be reached from here
  uint64_t leave;
};

// The mask stands in front, so that its address is known.
inline LeaderBoard leader_board(uint64_t base, const Registers& own, uint64_t mask,
                                uint32_t area_size) {
  LeaderBoard board{};
  Code code(base);
  code.data(mask);
  board.spare_call = code.here();
  code.svc();
  code.mov_register(0, 19);
  (void)code.branch(code.here() + 8);  // over the svc of A
  board.map_call = code.here();
  code.svc();  // the new area is in x0, where munmap wants it
  board.leave = code.here();
  code.mov(1, area_size);
  code.mov(8, kMunmap);
  board.unmap_call = code.here();
  code.svc();
  if (emit_resume(code, own, base)) board.bytes = code.take();
  return board;
}

inline ThreadBoard thread_board(uint64_t base, const Registers& own, uint64_t mask, uint64_t lock) {
  constexpr uint64_t kUnlockPiPrivate = 7 | 128;
  ThreadBoard board{};
  Code code(base);
  code.data(mask);
  board.leave = code.here();
  code.mov(0, lock);
  code.mov(1, kUnlockPiPrivate);
  code.mov(8, kFutex);
  code.svc();
  if (emit_resume(code, own, base)) board.bytes = code.take();
  return board;
}

}  // namespace ncr::arch::aarch64
