#include "frontends/criu/stats.h"

#include <gtest/gtest.h>

#include "stats.pb.h"

namespace criu {
namespace {

rpc::stats_entry read(const std::string& bytes) {
  rpc::stats_entry entry;
  EXPECT_EQ(bytes.substr(0, 8), std::string("\x40\x59\x10\x55\x06\x33\x09\x57", 8));
  EXPECT_EQ(static_cast<unsigned char>(bytes[8]), bytes.size() - 12);
  EXPECT_TRUE(entry.ParseFromString(bytes.substr(12)));
  return entry;
}

TEST(criu_stats, a_dump_is_told_in_microseconds_and_pages) {
  const rpc::stats_entry entry = read(dump_stats(
      R"({"frozen_ns": 5000000, "pages": {"scanned": 10, "written": 4, "zero": 1, "shared": 0},
          "phases": [{"name": "freeze", "start_ns": 0, "duration_ns": 3000},
                     {"name": "memory", "start_ns": 0, "duration_ns": 7000},
                     {"name": "write", "start_ns": 0, "duration_ns": 9000}]})"));
  EXPECT_EQ(entry.dump().freezing_time(), 3u);
  EXPECT_EQ(entry.dump().frozen_time(), 5000u);
  EXPECT_EQ(entry.dump().memdump_time(), 7u);
  EXPECT_EQ(entry.dump().memwrite_time(), 9u);
  EXPECT_EQ(entry.dump().pages_scanned(), 10u);
  EXPECT_EQ(entry.dump().pages_written(), 4u);
}

TEST(criu_stats, pages_of_shared_memory_are_counted_apart_and_all_add_up) {
  const rpc::dump_stats_entry dump =
      read(dump_stats(R"({"pages": {"scanned": 10, "written": 4, "parent": 2},
                          "shared_memory_pages": {"scanned": 6, "written": 3, "parent": 1}})"))
          .dump();
  EXPECT_EQ(dump.pages_scanned(), 4u);
  EXPECT_EQ(dump.shpages_scanned(), 6u);
  EXPECT_EQ(dump.pages_written(), 1u);
  EXPECT_EQ(dump.shpages_written(), 3u);
  EXPECT_EQ(dump.pages_skipped_parent() + dump.shpages_skipped_parent(), 2u);
}

TEST(criu_stats, a_restore_is_told_in_microseconds_and_pages) {
  const rpc::stats_entry entry = read(restore_stats(
      R"({"total_ns": 8000, "pages_restored": 12,
          "phases": [{"name": "fork and fill memory", "duration_ns": 2000}]})"));
  EXPECT_EQ(entry.restore().restore_time(), 8u);
  EXPECT_EQ(entry.restore().forking_time(), 2u);
  EXPECT_EQ(entry.restore().pages_restored(), 12u);
}

TEST(criu_stats, a_report_that_lacks_something_counts_it_as_nothing) {
  for (const char* report : {"", "[]", "{}", "{\"phases\": 3, \"pages\": [], \"frozen_ns\": -1}",
                             "{\"phases\": [1, {\"name\": \"freeze\"}]}"}) {
    EXPECT_EQ(read(dump_stats(report)).dump().pages_written(), 0u);
    EXPECT_EQ(read(restore_stats(report)).restore().pages_restored(), 0u);
  }
}

}  // namespace
}  // namespace criu
