#include "engine/tracee/batch.h"

#include <gtest/gtest.h>

namespace ncr {
namespace {

struct Small {
  static constexpr uint32_t kId = wire::id("batch_test.Small");
  struct Request {
    uint32_t value;
  };
  struct Reply {
    uint64_t value;
  };
};

struct Large {
  static constexpr uint32_t kId = wire::id("batch_test.Large");
  struct Request {
    uint64_t value;
  };
  struct Reply {
    char bytes[40000];
  };
};

std::string answer(uint32_t id, int32_t status, uint32_t size, size_t payload) {
  const wire::BatchHeader header{wire::kVersion, 1};
  const wire::ItemHeader item{id, status, size, 0};
  std::string text(reinterpret_cast<const char*>(&header), sizeof header);
  text.append(reinterpret_cast<const char*>(&item), sizeof item);
  return text.append(payload, '\x01');
}

TEST(Batch, an_answer_is_found_by_ticket_and_by_command) {
  Batch batch;
  const size_t ticket = batch.ask<Small>({7});
  EXPECT_EQ(batch.error(ticket), ENODATA);
  ASSERT_EQ(batch.messages(), 1u);
  EXPECT_EQ(batch.encoded(0).size(), 8u + 16 + 8);
  const std::string data = answer(Small::kId, 0, 8, 8);
  ASSERT_TRUE(batch.decode(0, data.data(), data.size()).ok());
  EXPECT_EQ(batch.error(ticket), 0);
  EXPECT_EQ(batch.reply<Small>(ticket).value, 0x0101010101010101u);
  ASSERT_NE(batch.find<Small>(), nullptr);
  EXPECT_EQ(batch.find<Large>(), nullptr);
}

TEST(Batch, a_failed_command_has_its_error_number_and_no_reply) {
  Batch batch;
  const size_t ticket = batch.ask<Small>({7});
  const std::string data = answer(Small::kId, -ENOSYS, 0, 0);
  ASSERT_TRUE(batch.decode(0, data.data(), data.size()).ok());
  int error = 0;
  EXPECT_EQ(batch.error(ticket), ENOSYS);
  EXPECT_EQ(batch.find<Small>(&error), nullptr);
  EXPECT_EQ(error, ENOSYS);
}

TEST(Batch, answers_larger_than_a_message_are_asked_for_in_several) {
  Batch batch;
  batch.ask<Large>({1});
  batch.ask<Small>({1});
  batch.ask<Large>({2});
  ASSERT_EQ(batch.messages(), 2u);
  const std::string data = answer(Large::kId, -EPERM, 0, 0);
  EXPECT_FALSE(batch.decode(0, data.data(), data.size()).ok());
  EXPECT_TRUE(batch.decode(1, data.data(), data.size()).ok());
  EXPECT_EQ(batch.error(2), EPERM);
}

TEST(Batch, a_damaged_answer_is_refused) {
  const std::string damaged[] = {
      "",
      "abc",
      answer(Small::kId, 0, 8, 7),
      answer(Small::kId, 0, 16, 16),
      answer(Large::kId, 0, 8, 8),
      answer(Small::kId, 5, 8, 8),
      answer(Small::kId, 0, 0xfffffff9, 8),
      answer(Small::kId, 0, 8, 8).substr(0, 12),
  };
  for (const std::string& data : damaged) {
    Batch batch;
    batch.ask<Small>({7});
    Result<> decoded = batch.decode(0, data.data(), data.size());
    ASSERT_FALSE(decoded.ok());
    EXPECT_EQ(decoded.error().code(), ErrorCode::kMalformed);
  }
}

}  // namespace
}  // namespace ncr
