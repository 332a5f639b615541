#include "arch/aarch64/springboard.h"

#include <gtest/gtest.h>

#include <cstring>

namespace ncr::arch::aarch64 {
namespace {

uint32_t word(const std::vector<unsigned char>& bytes, uint64_t offset) {
  uint32_t value = 0;
  std::memcpy(&value, &bytes.at(offset), 4);
  return value;
}

Registers near(uint64_t pc) {
  Registers own{};
  for (uint64_t& reg : own.x) reg = 0x1122334455667788;
  own.sp_el0 = 0x7ffffffff000;
  own.pc = pc;
  return own;
}

TEST(Aarch64Springboard, entries_are_svc_instructions_and_the_last_jump_goes_home) {
  const LeaderBoard board = leader_board(0x400000, near(0x500000), 0, 0x61000);
  EXPECT_EQ(word(board.bytes, board.spare_call - 0x400000), 0xd4000001u);
  EXPECT_EQ(word(board.bytes, board.map_call - 0x400000), 0xd4000001u);
  EXPECT_EQ(word(board.bytes, board.unmap_call - 0x400000), 0xd4000001u);
  EXPECT_EQ(word(board.bytes, board.spare_call - 0x400000 + 4), 0xaa1303e0u);  // mov x0, x19
  const uint64_t jump = board.spare_call - 0x400000 + 8;
  EXPECT_EQ(jump + 4 * (word(board.bytes, jump) & 0x3ffffff), board.leave - 0x400000);
  const uint64_t last = board.bytes.size() - 4;
  EXPECT_EQ(word(board.bytes, last) >> 26, 5u);
  EXPECT_EQ(0x400000 + last + 4 * (word(board.bytes, last) & 0x3ffffff), 0x500000u);
}

TEST(Aarch64Springboard, fits_the_room_that_is_reserved_for_it) {
  EXPECT_LE(8 + leader_board(0x400000, near(0x500000), 0, ~0u).bytes.size(), kLeaderBoardRoom);
  EXPECT_LE(thread_board(0x400000, near(0x500000), 0, ~uint64_t{0}).bytes.size(), kThreadBoardRoom);
}

TEST(Aarch64Springboard, code_out_of_reach_is_said_to_be) {
  EXPECT_TRUE(leader_board(0x400000, near(0x7fff00000000), 0, 0x1000).bytes.empty());
  EXPECT_TRUE(thread_board(0x400000, near(0x7fff00000000), 0, 0).bytes.empty());
}

TEST(Aarch64Registers, a_stopped_thread_is_rewound_already) {
  Registers registers = near(0x1000);
  registers.x[0] = static_cast<uint64_t>(kRestartSys);
  EXPECT_EQ(resume_registers(registers, ResumeIn::kNewTask).pc, 0x1000u);
  EXPECT_EQ(ip(enter_blob(registers, 0x2000, 0x3000, 5)), 0x2000u);
  EXPECT_EQ(sp(enter_blob(registers, 0x2000, 0x3000, 5)), 0x3000u);
}

}  // namespace
}  // namespace ncr::arch::aarch64
