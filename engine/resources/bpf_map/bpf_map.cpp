// A BPF map is a table in the kernel that programs of BPF and bpf(2) share. Its kind and sizes are
// told by BPF_OBJ_GET_INFO_BY_FD, whether bpf(2) may still write to it by fdinfo ("frozen"), its
// content by walking the keys. Arrays, hashes, their kinds with a value for each CPU and tries come
// back; the others hold references to kernel objects, or give their content away by reading. The
// node of a map with BPF_F_NUMA_NODE is not told: it is 0 afterwards. Programs stay refused, and so
// is a map that a loaded program uses: it would go on with the old one. dump runs in the engine,
// open in the child.
#include "engine/resources/bpf_map/bpf_map.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "engine/resources/file_restorer.h"
#include "engine/resources/file_table.h"
#include "engine/resources/status_flags.h"

namespace ncr::bpf_map {

bool is_array(uint32_t type) {
  return type == BPF_MAP_TYPE_ARRAY || type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

bool has_a_value_per_cpu(uint32_t type) {
  return type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_PERCPU_ARRAY ||
         type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

uint64_t value_bytes(uint32_t type, uint32_t value_size, uint32_t cpus) {
  if (!has_a_value_per_cpu(type)) return value_size;
  return ((uint64_t{value_size} + 7) & ~uint64_t{7}) * cpus;
}

std::string obstacle(const bpf_map_info& info) {
  switch (info.type) {
    case BPF_MAP_TYPE_HASH:
    case BPF_MAP_TYPE_ARRAY:
    case BPF_MAP_TYPE_PERCPU_HASH:
    case BPF_MAP_TYPE_PERCPU_ARRAY:
    case BPF_MAP_TYPE_LRU_HASH:
    case BPF_MAP_TYPE_LRU_PERCPU_HASH:
    case BPF_MAP_TYPE_LPM_TRIE:
      break;
    default:
      return strf("maps of type %u hold what bpf(2) cannot read and write back", info.type);
  }
  if (info.btf_id != 0 || info.btf_vmlinux_value_type_id != 0)
    return "its keys and values are described by BTF, which is not restored";
  if (info.ifindex != 0) return "it lives in a network card";
  if ((info.map_flags & BPF_F_INNER_MAP) != 0)
    return "it is made to be the inner map of another one";
  return {};
}

Result<bool> parse_frozen(const std::string& fdinfo) {
  constexpr std::string_view kName = "\nfrozen:";  // since 5.2
  const size_t at = fdinfo.find(kName);
  if (at == std::string::npos)
    return Error::malformed("fdinfo of a BPF map has no line \"frozen\"");
  return std::atoi(fdinfo.c_str() + at + kName.size()) != 0;
}

Result<uint32_t> parse_possible_cpus(const std::string& text) {
  constexpr unsigned long kMost = 1 << 16;
  uint32_t count = 0;
  for (const char* at = text.c_str(); *at >= '0' && *at <= '9';) {
    char* end = nullptr;
    const unsigned long first = std::strtoul(at, &end, 10);
    unsigned long last = first;
    if (*end == '-') last = std::strtoul(end + 1, &end, 10);
    if (last < first || last > kMost) return Error::malformed("CPUs in an impossible order");
    count += static_cast<uint32_t>(last - first + 1);
    at = *end == ',' ? end + 1 : end;
  }
  if (count == 0) return Error::malformed("no possible CPUs are named");
  return count;
}

namespace {

constexpr uint64_t kMostContent = 256ull << 20;  // of one map

bool recognises(const FdProbe& probe) { return probe.link == "anon_inode:bpf-map"; }

Result<long> call(int command, bpf_attr& attributes, const char* what) {
  return SYSCALL(::syscall(SYS_bpf, command, &attributes, sizeof attributes), "%s", what);
}

Result<bpf_map_info> info_of(const Fd& map) {
  bpf_map_info info{};
  bpf_attr attributes{};
  attributes.info.bpf_fd = static_cast<uint32_t>(map.get());
  attributes.info.info_len = sizeof info;
  attributes.info.info = reinterpret_cast<uint64_t>(&info);
  TRY(call(BPF_OBJ_GET_INFO_BY_FD, attributes, "BPF_OBJ_GET_INFO_BY_FD"));
  return info;
}

Result<Fd> open_by_id(uint32_t id, uint32_t flags) {
  bpf_attr attributes{};
  attributes.map_id = id;
  attributes.open_flags = flags;
  return Fd(static_cast<int>(TRY(
      call(BPF_MAP_GET_FD_BY_ID, attributes, "open a BPF map by its id (BPF_MAP_GET_FD_BY_ID)"))));
}

// A descriptor for writing only cannot read.
Result<Fd> readable(const FdProbe& probe, uint32_t id) {
  if ((probe.flags & O_ACCMODE) == O_WRONLY) return open_by_id(id, 0);
  return Fd(TRY(SYSCALL(::fcntl(probe.local.get(), F_DUPFD_CLOEXEC, 0), "F_DUPFD_CLOEXEC")));
}

Result<uint32_t> possible_cpus() {
  return parse_possible_cpus(TRY(sys::read_file("/sys/devices/system/cpu/possible")));
}

Result<bool> uses(uint32_t program, uint32_t map) {
  bpf_attr attributes{};
  attributes.prog_id = program;
  Result<long> opened = call(BPF_PROG_GET_FD_BY_ID, attributes, "open a BPF program by its id");
  if (!opened.ok() && opened.error().os_error() == ENOENT) return false;
  const Fd fd(static_cast<int>(TRY(std::move(opened))));
  bpf_prog_info info{};
  std::vector<uint32_t> maps;
  for (int pass = 0; pass < 2; pass++) {  // how many, then which
    const uint32_t count = info.nr_map_ids;
    maps.assign(count, 0);
    info = bpf_prog_info{};
    info.nr_map_ids = count;
    info.map_ids = reinterpret_cast<uint64_t>(maps.data());
    attributes = bpf_attr{};
    attributes.info.bpf_fd = static_cast<uint32_t>(fd.get());
    attributes.info.info_len = sizeof info;
    attributes.info.info = reinterpret_cast<uint64_t>(&info);
    TRY(call(BPF_OBJ_GET_INFO_BY_FD, attributes, "what a BPF program uses"));
  }
  return std::find(maps.begin(), maps.end(), map) != maps.end();
}

// 0: none.
Result<uint32_t> program_that_uses(uint32_t map) {
  for (uint32_t id = 0;;) {
    bpf_attr attributes{};
    attributes.start_id = id;
    Result<long> next = call(BPF_PROG_GET_NEXT_ID, attributes, "list BPF programs");
    if (!next.ok() && next.error().os_error() == ENOENT) return 0;
    TRY(std::move(next));
    id = attributes.next_id;
    if (TRY(uses(id, map))) return id;
  }
}

Result<std::string> why_not(const FdProbe& probe) {
  const bpf_map_info info = TRY(info_of(probe.local));
  std::string why = obstacle(info);
  if (!why.empty()) return why;
  const uint64_t entry =
      info.key_size + value_bytes(info.type, info.value_size, TRY(possible_cpus()));
  if (entry * info.max_entries > kMostContent)
    return strf("it may hold more than %llu MiB",
                static_cast<unsigned long long>(kMostContent >> 20));
  const uint32_t program = TRY(program_that_uses(info.id));
  if (program != 0) return strf("BPF program %u uses it, which is not restored", program);
  return std::string();
}

Result<> preflight(const FdProbe& probe, Blockers& blockers) {
  Result<std::string> why = why_not(probe);
  if (!why.ok())
    why = strf("it cannot be looked at, which takes CAP_SYS_ADMIN: %s", why.error().text().c_str());
  if (!why.value().empty())
    blockers.add(*probe.task, strf("fd %d: BPF map", raw(probe.number)), why.value(),
                 "close it before the dump, or load it after the restore");
  return {};
}

class Walk {
 public:
  Walk(Fd map, const bpf_map_info& info, schema::BpfMap* record)
      : map_(std::move(map)),
        info_(info),
        record_(record),
        key_(info.key_size, '\0'),
        value_(static_cast<size_t>(value_bytes(info.type, info.value_size, record->cpus())), '\0') {
  }

  Result<> array() {
    for (uint32_t index = 0; index < info_.max_entries; index++) {
      std::memcpy(key_.data(), &index, sizeof index);
      if (TRY(look_up())) record_->mutable_values()->append(value_);
    }
    return {};
  }

  Result<> table() {
    std::string next(info_.key_size, '\0');
    bool first = true;
    for (uint64_t count = 0; count <= info_.max_entries; count++, first = false) {
      bpf_attr attributes = named(first ? nullptr : key_.data());
      attributes.next_key = reinterpret_cast<uint64_t>(next.data());
      Result<long> found = call(BPF_MAP_GET_NEXT_KEY, attributes, "BPF_MAP_GET_NEXT_KEY");
      if (!found.ok() && found.error().os_error() == ENOENT) return {};
      TRY(std::move(found));
      key_ = next;
      if (!TRY(look_up())) continue;  // a program outside took it away
      record_->mutable_keys()->append(key_);
      record_->mutable_values()->append(value_);
    }
    return Error::unsupported("it is being changed while it is read");
  }

 private:
  bpf_attr named(const char* key) const {
    bpf_attr attributes{};
    attributes.map_fd = static_cast<uint32_t>(map_.get());
    attributes.key = reinterpret_cast<uint64_t>(key);
    return attributes;
  }

  Result<bool> look_up() {
    bpf_attr attributes = named(key_.data());
    attributes.value = reinterpret_cast<uint64_t>(value_.data());
    Result<long> found = call(BPF_MAP_LOOKUP_ELEM, attributes, "BPF_MAP_LOOKUP_ELEM");
    if (!found.ok() && found.error().os_error() == ENOENT) return false;
    TRY(std::move(found));
    return true;
  }

  Fd map_;
  const bpf_map_info& info_;
  schema::BpfMap* record_;
  std::string key_;
  std::string value_;
};

bool is_dumped(const FileTable& files, const schema::OpenFile& record) {
  for (const schema::OpenFile* other : files.records())
    if (other->id() != record.id() && other->has_bpf_map() &&
        other->bpf_map().id() == record.bpf_map().id())
      return true;
  return false;
}

Result<> dump(FileTable& files, const FdProbe& probe, schema::OpenFile* record) {
  const bpf_map_info info = TRY(info_of(probe.local));
  const std::string why = obstacle(info);
  if (!why.empty()) return Error::unsupported("BPF map: " + why);
  schema::BpfMap* map = record->mutable_bpf_map();
  map->set_type(info.type);
  map->set_key_size(info.key_size);
  map->set_value_size(info.value_size);
  map->set_max_entries(info.max_entries);
  map->set_map_flags(info.map_flags);
  map->set_name(std::string(info.name, ::strnlen(info.name, sizeof info.name)));
  map->set_frozen(TRY(parse_frozen(probe.fdinfo)));
  map->set_id(info.id);
  map->set_cpus(has_a_value_per_cpu(info.type) ? TRY(possible_cpus()) : 0);
  record->set_group_id(group_of(probe.stat.st_dev, info.id));
  if (is_dumped(files, *record)) return {};
  Walk walk(TRY(readable(probe, info.id)), info, map);
  return is_array(info.type) ? walk.array() : walk.table();
}

// One of the records of a map has its content: whichever was met first.
const schema::BpfMap& with_content(FileRestorer& files, const schema::OpenFile& record) {
  if (record.bpf_map().values().empty() && record.group_id() != 0)
    for (const schema::OpenFile* other : files.members(record.group_id()))
      if (other->has_bpf_map() && !other->bpf_map().values().empty()) return other->bpf_map();
  return record.bpf_map();
}

Result<uint64_t> entries_in(const schema::BpfMap& map) {
  if (map.key_size() == 0 || map.value_size() == 0 || (is_array(map.type()) && map.key_size() != 4))
    return Error::malformed("a BPF map with keys or values of an impossible size");
  const uint64_t value = value_bytes(map.type(), map.value_size(), map.cpus());
  if (value == 0 || map.values().size() % value != 0)
    return Error::malformed("a BPF map with a part of a value");
  const uint64_t entries = map.values().size() / value;
  if (entries > map.max_entries() ||
      map.keys().size() != (is_array(map.type()) ? 0 : entries * map.key_size()))
    return Error::malformed("a BPF map with other keys than values");
  return entries;
}

Result<> fill(const Fd& fd, const schema::BpfMap& map) {
  const uint64_t entries = TRY(entries_in(map));
  const uint64_t size = value_bytes(map.type(), map.value_size(), map.cpus());
  if (has_a_value_per_cpu(map.type()) && map.cpus() != TRY(possible_cpus()))
    return Error::unsupported(
        strf("a BPF map has a value for each of %u possible CPUs, and here are %u", map.cpus(),
             TRY(possible_cpus())));
  for (uint64_t i = 0; i < entries; i++) {
    const auto index = static_cast<uint32_t>(i);
    const char* key = is_array(map.type()) ? reinterpret_cast<const char*>(&index)
                                           : map.keys().data() + i * map.key_size();
    bpf_attr attributes{};
    attributes.map_fd = static_cast<uint32_t>(fd.get());
    attributes.key = reinterpret_cast<uint64_t>(key);
    attributes.value = reinterpret_cast<uint64_t>(map.values().data() + i * size);
    TRY(call(BPF_MAP_UPDATE_ELEM, attributes, "fill a BPF map"));
  }
  return {};
}

Result<Fd> make(FileRestorer& files, const schema::OpenFile& record) {
  const schema::BpfMap& map = with_content(files, record);
  bpf_attr attributes{};
  attributes.map_type = map.type();
  attributes.key_size = map.key_size();
  attributes.value_size = map.value_size();
  attributes.max_entries = map.max_entries();
  attributes.map_flags = map.map_flags();
  if (map.name().size() >= sizeof attributes.map_name)
    return Error::malformed("a BPF map with too long a name");
  std::memcpy(attributes.map_name, map.name().data(), map.name().size());
  Fd fd(static_cast<int>(
      TRY(call(BPF_MAP_CREATE, attributes, "make a BPF map (BPF_MAP_CREATE takes CAP_BPF)"))));
  TRY(fill(fd, map));
  if (map.frozen()) {
    attributes = bpf_attr{};
    attributes.map_fd = static_cast<uint32_t>(fd.get());
    TRY(call(BPF_MAP_FREEZE, attributes, "BPF_MAP_FREEZE"));
  }
  return fd;
}

uint32_t access_of(uint32_t flags) {
  switch (flags & O_ACCMODE) {
    case O_RDONLY:
      return BPF_F_RDONLY;
    case O_WRONLY:
      return BPF_F_WRONLY;
    default:
      return 0;
  }
}

std::string key_of(const schema::BpfMap& map) { return strf("BPF map %u", map.id()); }

// The first description is that of whoever made the map; further ones are opened by its new id.
Result<Fd> open(FileRestorer& files, const schema::OpenFile& record) {
  const std::string key = key_of(record.bpf_map());
  Fd made = files.take(record.group_id(), key);
  const bool first = !made.valid();
  if (first) made = TRY(make(files, record));
  if (first && access_of(record.flags()) == 0) {
    files.stash(record.group_id(), key,
                Fd(TRY(SYSCALL(::fcntl(made.get(), F_DUPFD_CLOEXEC, 0), "F_DUPFD_CLOEXEC"))));
    return made;
  }
  const bpf_map_info info = TRY(info_of(made));
  Fd fd = TRY(open_by_id(info.id, access_of(record.flags())));
  files.stash(record.group_id(), key, std::move(made));
  return fd;
}

}  // namespace

extern const FdRoom kRoom = {.name = "bpf_map",
                             .kind = schema::OpenFile::kBpfMap,
                             .recognises = recognises,
                             .preflight = preflight,
                             .dump = dump,
                             .open = open};

}  // namespace ncr::bpf_map
