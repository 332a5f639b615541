#include "frontends/criu/stats.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "stats.pb.h"

namespace criu {
namespace {

using nlohmann::json;

constexpr uint32_t kServiceMagic = 0x55105940;
constexpr uint32_t kStatsMagic = 0x57093306;

json parsed(const std::string& report) {
  json object = json::parse(report, nullptr, false);
  return object.is_object() ? object : json::object();
}

uint64_t count(const json& object, const char* name) {
  auto found = object.find(name);
  return found != object.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

uint64_t pages(const json& report, const char* name, const char* group = "pages") {
  auto found = report.find(group);
  return found != report.end() && found->is_object() ? count(*found, name) : 0;
}

// Ours are all pages, and those of shared memory among them; theirs are two kinds that add up.
struct Kinds {
  uint64_t own = 0;
  uint64_t shared = 0;
};

Kinds kinds_of(const json& report, const char* name) {
  const uint64_t all = pages(report, name);
  const uint64_t shared = std::min(all, pages(report, name, "shared_memory_pages"));
  return {all - shared, shared};
}

uint32_t microseconds(uint64_t ns) {
  return static_cast<uint32_t>(std::min<uint64_t>(ns / 1000, UINT32_MAX));
}

uint64_t phase_ns(const json& report, const char* name) {
  uint64_t sum = 0;
  auto phases = report.find("phases");
  if (phases == report.end() || !phases->is_array()) return 0;
  for (const json& phase : *phases)
    if (phase.is_object() && phase.contains("name") && phase["name"] == name)
      sum += count(phase, "duration_ns");
  return sum;
}

void append(uint32_t number, std::string* bytes) {
  for (int shift = 0; shift < 32; shift += 8)
    bytes->push_back(static_cast<char>(number >> shift & 0xff));
}

std::string framed(const rpc::stats_entry& entry) {
  const std::string payload = entry.SerializeAsString();
  std::string bytes;
  append(kServiceMagic, &bytes);
  append(kStatsMagic, &bytes);
  append(static_cast<uint32_t>(payload.size()), &bytes);
  return bytes + payload;
}

rpc::dump_stats_entry dump_entry(const std::string& text) {
  const json report = parsed(text);
  rpc::dump_stats_entry entry;
  entry.set_freezing_time(microseconds(phase_ns(report, "freeze")));
  entry.set_frozen_time(microseconds(count(report, "frozen_ns")));
  entry.set_memdump_time(
      microseconds(phase_ns(report, "memory") + phase_ns(report, "ask")));  // read at one time
  entry.set_memwrite_time(microseconds(phase_ns(report, "write") + phase_ns(report, "commit")));
  const Kinds scanned = kinds_of(report, "scanned");
  const Kinds parent = kinds_of(report, "parent");
  const Kinds written = kinds_of(report, "written");
  entry.set_pages_scanned(scanned.own);
  entry.set_pages_skipped_parent(parent.own);
  entry.set_pages_written(written.own);
  entry.set_shpages_scanned(scanned.shared);
  entry.set_shpages_skipped_parent(parent.shared);
  entry.set_shpages_written(written.shared);
  entry.set_pages_lazy(pages(report, "lazy"));
  return entry;
}

rpc::restore_stats_entry restore_entry(const std::string& text) {
  const json report = parsed(text);
  rpc::restore_stats_entry entry;
  entry.set_pages_compared(0);
  entry.set_pages_skipped_cow(0);
  entry.set_forking_time(microseconds(phase_ns(report, "fork and fill memory")));
  entry.set_restore_time(microseconds(count(report, "total_ns")));
  entry.set_pages_restored(count(report, "pages_restored"));
  return entry;
}

std::string line(const char* name, uint64_t value, const char* unit) {
  return std::string(name) + ": " + std::to_string(value) + unit + "\n";
}

}  // namespace

std::string dump_stats(const std::string& report) {
  rpc::stats_entry entry;
  *entry.mutable_dump() = dump_entry(report);
  return framed(entry);
}

std::string restore_stats(const std::string& report) {
  rpc::stats_entry entry;
  *entry.mutable_restore() = restore_entry(report);
  return framed(entry);
}

std::string describe_dump(const std::string& report) {
  const rpc::dump_stats_entry entry = dump_entry(report);
  return line("Freezing time", entry.freezing_time(), " us") +
         line("Frozen time", entry.frozen_time(), " us") +
         line("Memory dump time", entry.memdump_time(), " us") +
         line("Memory write time", entry.memwrite_time(), " us") +
         line("Memory pages scanned", entry.pages_scanned(), "") +
         line("Memory pages skipped from parent", entry.pages_skipped_parent(), "") +
         line("Memory pages written", entry.pages_written(), "") +
         line("Shared memory pages scanned", entry.shpages_scanned(), "") +
         line("Shared memory pages skipped from parent", entry.shpages_skipped_parent(), "") +
         line("Shared memory pages written", entry.shpages_written(), "");
}

std::string describe_restore(const std::string& report) {
  const rpc::restore_stats_entry entry = restore_entry(report);
  return line("Forking time", entry.forking_time(), " us") +
         line("Restore time", entry.restore_time(), " us") +
         line("Pages restored", entry.pages_restored(), "");
}

}  // namespace criu
