// Finds the place of the springboard (docs/adr/0001): behind the last byte of the vDSO's file that
// its headers account for, or the zeroed end of the last page of a private r-x file mapping, where
// the kernel filled up the page and no section of the file reaches. Runs in the engine, on a
// stopped task. What an engine that was killed left there begins with our name and is used again,
// unless a thread is still on its way through.
#include "engine/tracee/springboard_place.h"

#include <elf.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>

#include "engine/base/sys.h"
#include "engine/tracee/remote_memory.h"

namespace ncr {
namespace {

constexpr size_t kMaxVdso = 1 << 20;

struct Mapping {
  uint64_t start = 0;
  uint64_t end = 0;
  bool private_text_of_file = false;
  bool vdso = false;
};

// struct procmap_query (linux/fs.h since 6.11): one mapping without the text of all.
struct MappingQuery {
  uint64_t size, flags, address, start, end, vma_flags, page_size, offset, inode;
  uint32_t major, minor, name_size, build_id_size;
  uint64_t name, build_id;
};
static_assert(sizeof(MappingQuery) == 104);

Result<uint64_t> vdso_address(pid_t pid) {
  const std::string text = TRY(sys::read_file(strf("/proc/%d/auxv", pid).c_str()));
  for (size_t at = 0; at + sizeof(Elf64_auxv_t) <= text.size(); at += sizeof(Elf64_auxv_t)) {
    Elf64_auxv_t entry;
    std::memcpy(&entry, text.data() + at, sizeof entry);
    if (entry.a_type == AT_SYSINFO_EHDR) return entry.a_un.a_val;
  }
  return uint64_t{0};
}

// The auxiliary vector may be out of date (the vDSO can be moved), so the kernel is asked what is
// there now.
Result<Mapping> vdso_by_query(pid_t pid) {
  Mapping vdso;
  const uint64_t address = TRY(vdso_address(pid));
  if (address == 0) return vdso;
  Fd maps = TRY(sys::open(strf("/proc/%d/maps", pid).c_str(), 0));
  char name[32] = {};
  MappingQuery query{};
  query.size = sizeof query;
  query.address = address;
  query.name = reinterpret_cast<uint64_t>(name);
  query.name_size = sizeof name;
  Result<int> asked =
      SYSCALL(::ioctl(maps.get(), _IOWR('f', 17, MappingQuery), &query), "PROCMAP_QUERY");
  if (!asked.ok() || std::strcmp(name, "[vdso]") != 0) return vdso;
  vdso.start = query.start;
  vdso.end = query.end;
  vdso.vdso = true;
  return vdso;
}

Mapping parse_mapping(const char* line) {
  Mapping mapping;
  char permissions[5] = {};
  uint64_t inode = 0;
  int path = 0;
  if (std::sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %*x %*x:%*x %" SCNu64 " %n", &mapping.start,
                  &mapping.end, permissions, &inode, &path) != 4)
    return {};
  mapping.vdso = std::strncmp(line + path, "[vdso]", 6) == 0;
  mapping.private_text_of_file = inode != 0 && std::strcmp(permissions, "r-xp") == 0;
  return mapping;
}

template <class F>
void each_mapping(const std::string& maps, F&& visit) {
  for (size_t at = 0; at < maps.size();) {
    const size_t end = std::min(maps.find('\n', at), maps.size());
    visit(parse_mapping(maps.substr(at, end - at).c_str()));
    at = end + 1;
  }
}

bool is_ours(std::string_view bytes) {
  return bytes.size() >= sizeof kSpringboardMagic &&
         std::memcmp(bytes.data(), kSpringboardMagic, sizeof kSpringboardMagic) == 0;
}

bool is_zero(std::string_view bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](char byte) { return byte == 0; });
}

// The end of the last byte that the headers account for, a multiple of 16; 0: it is no such file.
size_t end_of_contents(std::string_view image) {
  Elf64_Ehdr header;
  if (image.size() < sizeof header) return 0;
  std::memcpy(&header, image.data(), sizeof header);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64)
    return 0;
  uint64_t used = std::max(header.e_shoff + uint64_t{header.e_shnum} * header.e_shentsize,
                           header.e_phoff + uint64_t{header.e_phnum} * header.e_phentsize);
  for (unsigned index = 0; index < header.e_shnum; index++) {
    Elf64_Shdr section;
    const uint64_t at = header.e_shoff + uint64_t{index} * header.e_shentsize;
    if (at > image.size() || image.size() - at < sizeof section) return 0;
    std::memcpy(&section, image.data() + at, sizeof section);
    if (section.sh_type != SHT_NOBITS) used = std::max(used, section.sh_offset + section.sh_size);
  }
  for (unsigned index = 0; index < header.e_phnum; index++) {
    Elf64_Phdr segment;
    const uint64_t at = header.e_phoff + uint64_t{index} * header.e_phentsize;
    if (at > image.size() || image.size() - at < sizeof segment) return 0;
    std::memcpy(&segment, image.data() + at, sizeof segment);
    used = std::max(used, segment.p_offset + std::max(segment.p_filesz, segment.p_memsz));
  }
  const uint64_t end = (used + 15) & ~uint64_t{15};
  return end > image.size() ? 0 : end;
}

// A thread that an engine's death caught half way out would be lost if the code under it changed.
Result<> nobody_inside(pid_t pid, uint64_t start, uint64_t end) {
  std::error_code ignored;
  for (const auto& task :
       std::filesystem::directory_iterator(strf("/proc/%d/task", pid), ignored)) {
    Result<std::string> text = sys::read_file((task.path() / "syscall").c_str());
    if (!text.ok()) continue;
    const size_t last = text.value().rfind(' ');
    const uint64_t ip =
        last == std::string::npos ? 0 : std::strtoull(text.value().c_str() + last, nullptr, 16);
    if (ip >= start && ip < end)
      return Error::unsupported(
          strf("task %d is still on its way out of an earlier checkpoint that was killed; let it "
               "run, then try again",
               pid));
  }
  return {};
}

Result<RemoteAddress> in_vdso(pid_t pid, const Mapping& vdso, size_t size) {
  if (vdso.end <= vdso.start || vdso.end - vdso.start > kMaxVdso) return RemoteAddress{};
  std::string image(vdso.end - vdso.start, 0);
  if (!read_remote(pid, {vdso.start}, image.data(), image.size()).ok()) return RemoteAddress{};
  const size_t offset = unused_tail_of_vdso(image, size);
  if (offset == 0) return RemoteAddress{};
  const RemoteAddress place{vdso.start + offset};
  if (is_ours(std::string_view(image).substr(offset, size)))
    TRY(nobody_inside(pid, place.value, place.value + size));
  return place;
}

Result<RemoteAddress> in_text(pid_t pid, const Mapping& text, size_t size) {
  const uint64_t start = (text.end - size) & ~uint64_t{15};
  if (start < text.end - kPageSize) return RemoteAddress{};
  std::string bytes(text.end - start, 0);
  if (!read_remote(pid, {start}, bytes.data(), bytes.size()).ok()) return RemoteAddress{};
  if (is_zero(bytes)) return RemoteAddress{start};
  if (!is_ours(bytes)) return RemoteAddress{};
  TRY(nobody_inside(pid, start, text.end));
  return RemoteAddress{start};
}

}  // namespace

size_t unused_tail_of_vdso(std::string_view image, size_t size) {
  const size_t start = end_of_contents(image);
  if (start == 0 || image.size() - start < size) return 0;
  const std::string_view tail = image.substr(start, size);
  return is_zero(tail) || is_ours(tail) ? start : 0;
}

KnownVdso known_vdso(uint64_t start, std::string_view image) {
  const size_t end = end_of_contents(image);
  return {start, image.size(), end != 0 && is_zero(image.substr(end)) ? end : 0};
}

Result<RemoteAddress> find_springboard_place(pid_t pid, KnownVdso known, size_t size) {
  Mapping vdso{known.start, known.start + known.size, false, true};
  if (known.zeroes != 0 && known.size - known.zeroes >= size)
    return RemoteAddress{known.start + known.zeroes};
  if (known.size == 0) vdso = TRY(vdso_by_query(pid));
  RemoteAddress place = TRY(in_vdso(pid, vdso, size));
  if (place.value != 0) return place;
  const std::string maps = TRY(sys::read_file(strf("/proc/%d/maps", pid).c_str()));
  Result<> failure;
  each_mapping(maps, [&](const Mapping& mapping) {
    if (place.value != 0 || !failure.ok() || !(mapping.vdso || mapping.private_text_of_file))
      return;
    Result<RemoteAddress> found =
        mapping.vdso ? in_vdso(pid, mapping, size) : in_text(pid, mapping, size);
    if (found.ok())
      place = found.value();
    else
      failure = found.take_error();
  });
  TRY(std::move(failure));
  if (place.value != 0) return place;
  return Error::unsupported(strf(
      "task %d: neither its vDSO nor an executable file mapping ends in %zu unused bytes, where "
      "code to leave it again could stand",
      pid, size));
}

}  // namespace ncr
