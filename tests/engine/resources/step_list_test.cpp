#include "engine/resources/step_list.h"

#include <gtest/gtest.h>

#include <cstring>

namespace ncr {
namespace {

struct First {
  static constexpr uint32_t kId = wire::id("test.First");
  uint32_t value;
};
struct Second {
  static constexpr uint32_t kId = wire::id("test.Second");
  uint64_t value;
};

std::vector<std::pair<uint32_t, std::string>> decode(const std::string& bytes) {
  std::vector<std::pair<uint32_t, std::string>> steps;
  for (size_t at = 0; at < bytes.size();) {
    wire::StepHeader header;
    memcpy(&header, bytes.data() + at, sizeof header);
    steps.push_back({header.id, bytes.substr(at + sizeof header, header.size)});
    at += sizeof header + wire::padded(header.size);
  }
  return steps;
}

TEST(step_list, sorts_by_stage_and_keeps_the_order_within) {
  StepList list;
  list.add(wire::Stage::kLate, Second{1});
  list.add(wire::Stage::kMemory, First{2});
  list.add(wire::Stage::kLate, First{3});
  auto steps = decode(list.encode(wire::Stage::kMemory, wire::Stage::kCredentials));
  ASSERT_EQ(steps.size(), 3u);
  EXPECT_EQ(steps[0].first, First::kId);
  EXPECT_EQ(steps[1].first, Second::kId);
  EXPECT_EQ(steps[2].first, First::kId);
}

TEST(step_list, pads_payloads_and_keeps_their_size) {
  StepList list;
  list.add(wire::Stage::kThread, First{7}, "tail!");
  std::string bytes = list.encode(wire::Stage::kThread, wire::Stage::kThread);
  EXPECT_EQ(bytes.size() % 8, 0u);
  auto steps = decode(bytes);
  ASSERT_EQ(steps.size(), 1u);
  EXPECT_EQ(steps[0].second.size(), 9u);
  EXPECT_EQ(steps[0].second.substr(4), "tail!");
}

TEST(step_list, encodes_only_the_stages_asked_for) {
  StepList list;
  list.add(wire::Stage::kMemory, First{1});
  list.add(wire::Stage::kCredentials, First{2});
  EXPECT_EQ(decode(list.encode(wire::Stage::kProcess, wire::Stage::kLate)).size(), 0u);
  EXPECT_EQ(decode(list.encode(wire::Stage::kCredentials, wire::Stage::kCredentials)).size(), 1u);
}

}  // namespace
}  // namespace ncr
