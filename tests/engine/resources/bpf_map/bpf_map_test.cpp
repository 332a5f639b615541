#include "engine/resources/bpf_map/bpf_map.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "tests/engine/resources/reopening.h"
#include "tests/support/checkpoint_test.h"

namespace ncr {
namespace {

bpf_attr map_of(uint32_t type, uint32_t key_size, uint32_t value_size, uint32_t entries,
                uint32_t flags = 0) {
  bpf_attr attributes{};
  attributes.map_type = type;
  attributes.key_size = key_size;
  attributes.value_size = value_size;
  attributes.max_entries = entries;
  attributes.map_flags = flags;
  std::strcpy(attributes.map_name, "ncr_test");
  return attributes;
}

long bpf(int command, bpf_attr& attributes) {
  return ::syscall(SYS_bpf, command, &attributes, sizeof attributes);
}

Fd make(bpf_attr attributes) {
  return Fd(static_cast<int>(MUST(SYSCALL(bpf(BPF_MAP_CREATE, attributes), "BPF_MAP_CREATE"))));
}

bpf_attr entry_of(const Fd& map, const void* key, void* value) {
  bpf_attr attributes{};
  attributes.map_fd = static_cast<uint32_t>(map.get());
  attributes.key = reinterpret_cast<uint64_t>(key);
  attributes.value = reinterpret_cast<uint64_t>(value);
  return attributes;
}

void put(const Fd& map, uint32_t key, uint64_t value) {
  bpf_attr attributes = entry_of(map, &key, &value);
  MUST(SYSCALL(bpf(BPF_MAP_UPDATE_ELEM, attributes), "BPF_MAP_UPDATE_ELEM"));
}

uint64_t get(const Fd& map, uint32_t key) {
  uint64_t value = ~0ull;
  bpf_attr attributes = entry_of(map, &key, &value);
  return bpf(BPF_MAP_LOOKUP_ELEM, attributes) == 0 ? value : ~0ull;
}

bpf_map_info info_of(const Fd& map) {
  bpf_map_info info{};
  bpf_attr attributes{};
  attributes.info.bpf_fd = static_cast<uint32_t>(map.get());
  attributes.info.info_len = sizeof info;
  attributes.info.info = reinterpret_cast<uint64_t>(&info);
  MUST(SYSCALL(bpf(BPF_OBJ_GET_INFO_BY_FD, attributes), "BPF_OBJ_GET_INFO_BY_FD"));
  return info;
}

TEST(BpfMap, possible_cpus_are_counted) {
  EXPECT_EQ(value_of(bpf_map::parse_possible_cpus("0\n")), 1u);
  EXPECT_EQ(value_of(bpf_map::parse_possible_cpus("0-3,8\n")), 5u);
  for (const char* text : {"", "x", "3-1", "0-99999999"})
    EXPECT_FALSE(bpf_map::parse_possible_cpus(text).ok()) << text;
}

TEST(BpfMap, what_holds_kernel_objects_is_not_for_us) {
  bpf_map_info info{};
  info.type = BPF_MAP_TYPE_HASH;
  EXPECT_EQ(bpf_map::obstacle(info), "");
  info.btf_id = 7;
  EXPECT_NE(bpf_map::obstacle(info), "");
  info = {};
  for (uint32_t type : {BPF_MAP_TYPE_PROG_ARRAY, BPF_MAP_TYPE_HASH_OF_MAPS, BPF_MAP_TYPE_RINGBUF,
                        BPF_MAP_TYPE_QUEUE}) {
    info.type = type;
    EXPECT_NE(bpf_map::obstacle(info), "") << type;
  }
}

TEST(BpfMap, a_record_that_does_not_add_up_is_refused) {
  Reopening trip;
  schema::OpenFile& file = trip.image().files[1];
  file.set_id(1);
  file.set_flags(O_RDWR);
  schema::BpfMap* map = file.mutable_bpf_map();
  map->set_type(BPF_MAP_TYPE_HASH);
  map->set_key_size(4);
  map->set_value_size(8);
  map->set_max_entries(1);
  map->set_keys("1234");
  map->set_values("12345");
  Result<> restored = trip.restore();
  ASSERT_FALSE(restored.ok());
  EXPECT_NE(restored.error().text().find("BPF map"), std::string::npos) << restored.error().text();
}

CR_TEST(bpf_map, arrays_and_hashes_keep_their_content_and_what_they_are) {
  Fd array = make(map_of(BPF_MAP_TYPE_ARRAY, 4, 8, 5));
  Fd hash = make(map_of(BPF_MAP_TYPE_HASH, 4, 8, 100, BPF_F_NO_PREALLOC));
  for (uint32_t i = 0; i < 5; i++) put(array, i, i * 11);
  for (uint32_t i = 50; i < 90; i++) put(hash, i, i * 7);
  checkpoint_restore();
  for (uint32_t i = 0; i < 5; i++) EXPECT_EQ(get(array, i), i * 11);
  for (uint32_t i = 50; i < 90; i++) EXPECT_EQ(get(hash, i), i * 7);
  EXPECT_EQ(get(hash, 90), ~0ull);
  const bpf_map_info info = info_of(hash);
  EXPECT_STREQ(info.name, "ncr_test");
  EXPECT_EQ(info.type, static_cast<uint32_t>(BPF_MAP_TYPE_HASH));
  EXPECT_EQ(info.max_entries, 100u);
  EXPECT_EQ(info.map_flags, static_cast<uint32_t>(BPF_F_NO_PREALLOC));
  put(hash, 7, 1);
}

CR_TEST(bpf_map, one_with_a_value_for_each_cpu_keeps_them_all) {
  const std::string possible = MUST(sys::read_file("/sys/devices/system/cpu/possible"));
  const uint32_t cpus = MUST(bpf_map::parse_possible_cpus(possible));
  Fd map = make(map_of(BPF_MAP_TYPE_PERCPU_HASH, 4, 8, 10));
  std::vector<uint64_t> values(cpus);
  for (uint32_t i = 0; i < cpus; i++) values[i] = 1000 + i;
  const uint32_t key = 3;
  bpf_attr attributes = entry_of(map, &key, values.data());
  MUST(SYSCALL(bpf(BPF_MAP_UPDATE_ELEM, attributes), "BPF_MAP_UPDATE_ELEM"));
  checkpoint_restore();
  std::vector<uint64_t> found(cpus);
  attributes = entry_of(map, &key, found.data());
  ASSERT_EQ(bpf(BPF_MAP_LOOKUP_ELEM, attributes), 0);
  EXPECT_EQ(found, values);
}

CR_TEST(bpf_map, descriptors_of_one_map_share_it_each_with_its_access) {
  Fd map = make(map_of(BPF_MAP_TYPE_ARRAY, 4, 8, 1));
  bpf_attr attributes{};
  attributes.map_id = info_of(map).id;
  attributes.open_flags = BPF_F_RDONLY;
  Fd reader(static_cast<int>(MUST(SYSCALL(bpf(BPF_MAP_GET_FD_BY_ID, attributes), "GET_FD_BY_ID"))));
  put(map, 0, 5);
  checkpoint_restore();
  EXPECT_EQ(get(reader, 0), 5u);
  put(map, 0, 6);
  EXPECT_EQ(get(reader, 0), 6u);
  uint64_t value = 7;
  const uint32_t key = 0;
  attributes = entry_of(reader, &key, &value);
  EXPECT_EQ(bpf(BPF_MAP_UPDATE_ELEM, attributes), -1);
}

CR_TEST(bpf_map, a_frozen_one_stays_frozen) {
  Fd map = make(map_of(BPF_MAP_TYPE_HASH, 4, 8, 4));
  put(map, 1, 2);
  bpf_attr attributes{};
  attributes.map_fd = static_cast<uint32_t>(map.get());
  MUST(SYSCALL(bpf(BPF_MAP_FREEZE, attributes), "BPF_MAP_FREEZE"));
  checkpoint_restore();
  EXPECT_EQ(get(map, 1), 2u);
  uint64_t value = 7;
  const uint32_t key = 1;
  attributes = entry_of(map, &key, &value);
  EXPECT_EQ(bpf(BPF_MAP_UPDATE_ELEM, attributes), -1);
}

CR_TEST_WITH(bpf_map, one_that_gives_its_content_away_by_reading_is_refused,
             .refused_with = "BPF map") {
  Fd map = make(map_of(BPF_MAP_TYPE_QUEUE, 0, 8, 4));
  checkpoint_restore();
}

}  // namespace
}  // namespace ncr
