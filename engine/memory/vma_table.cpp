// VMAs: ranges of an address space with one backing and one protection. The kernel keeps them in
// mm->mm_mt and prints one header line and about 25 "Name: value" lines for each in
// /proc/PID/smaps. Userspace cannot see from this text whether a name was escaped, nor which
// mappings share an object that has no name.
//
// This runs while the tree stands still, so it makes one pass over the text and looks at two of
// the lines.
#include "engine/memory/vma_table.h"

#include <sys/mman.h>
#include <sys/sysmacros.h>

#include <bit>
#include <charconv>
#include <cstring>

namespace ncr {
namespace {

struct Cursor {
  const char* at;
  const char* end;

  bool number(uint64_t* value, int base) {
    auto [stop, error] = std::from_chars(at, end, *value, base);
    if (error != std::errc()) return false;
    at = stop;
    return true;
  }
  bool skip(char c) {
    if (at == end || *at != c) return false;
    at++;
    return true;
  }
};

Error malformed(std::string_view line) {
  return Error::malformed(strf("smaps: cannot read the line \"%.*s\"",
                               static_cast<int>(std::min<size_t>(line.size(), 200)), line.data()));
}

// "start-end rwxp offset major:minor inode"; leaves the cursor behind the inode.
bool parse_numbers(Cursor& in, VmaLine* line) {
  uint64_t start = 0, end = 0, offset = 0, device_major = 0, device_minor = 0;
  if (!in.number(&start, 16) || !in.skip('-') || !in.number(&end, 16) || !in.skip(' '))
    return false;
  if (start >= end || in.end - in.at < 5) return false;
  const char* permissions = in.at;
  uint32_t prot = (permissions[0] == 'r' ? PROT_READ : 0u) |
                  (permissions[1] == 'w' ? PROT_WRITE : 0u) |
                  (permissions[2] == 'x' ? PROT_EXEC : 0u);
  bool shared = permissions[3] == 's';
  if (!shared && permissions[3] != 'p') return false;
  in.at += 4;
  if (!in.skip(' ') || !in.number(&offset, 16) || !in.skip(' ') || !in.number(&device_major, 16) ||
      !in.skip(':') || !in.number(&device_minor, 16) || !in.skip(' ') ||
      !in.number(&line->inode, 10)) {
    return false;
  }
  line->vma.set_start(start);
  line->vma.set_end(end);
  if (prot != 0) line->vma.set_prot(prot);
  line->vma.set_kind(shared ? schema::VMA_FILE_SHARED : schema::VMA_FILE_PRIVATE);
  if (offset != 0) line->vma.set_file_offset(offset);
  line->device = makedev(static_cast<unsigned>(device_major), static_cast<unsigned>(device_minor));
  return true;
}

Result<VmaLine> parse_header(std::string_view text) {
  VmaLine line;
  Cursor in{text.data(), text.data() + text.size()};
  if (!parse_numbers(in, &line)) return malformed(text);
  while (in.skip(' ')) {
  }
  classify_vma({in.at, static_cast<size_t>(in.end - in.at)}, Newlines::kEscaped, &line);
  return line;
}

// "KernelPageSize:      2048 kB"
uint64_t kilobytes(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

// `entry`: from its header on.
Result<> read_page_size(std::string_view entry, VmaLine* line) {
  constexpr std::string_view kPageSize = "\nKernelPageSize:";
  const size_t at = entry.find(kPageSize);
  const uint64_t bytes =
      at == std::string_view::npos ? 0 : kilobytes(entry.substr(at + kPageSize.size())) * 1024;
  if (!std::has_single_bit(bytes)) return malformed(entry.substr(0, entry.find('\n')));
  line->vma.set_huge_page_shift(static_cast<uint32_t>(std::countr_zero(bytes)));
  return {};
}

// From behind a header to its VmFlags, of which no line before is of use; /proc/PID/maps has none.
std::string_view skip_to_flags(std::string_view rest) {
  if (!rest.starts_with("Size:")) return rest;
  constexpr std::string_view kNext = "\nVmFlags: ";
  size_t at = rest.find(kNext);
  return at == std::string_view::npos ? rest : rest.substr(at + 1);
}

}  // namespace

Result<std::vector<VmaLine>> parse_smaps(std::string_view smaps) {
  constexpr std::string_view kFlags = "VmFlags: ";
  std::vector<VmaLine> lines;
  lines.reserve(smaps.size() / 600 + 1);
  std::string_view entry;  // the rest of the text, from the last header on
  while (!smaps.empty()) {
    std::string_view line = smaps.substr(0, std::min(smaps.find('\n'), smaps.size()));
    smaps.remove_prefix(std::min(line.size() + 1, smaps.size()));
    bool header = !line.empty() && (line[0] < 'A' || line[0] > 'Z');
    if (header) {
      lines.push_back(TRY(parse_header(line)));
      entry = {line.data(), line.size() + smaps.size()};
      smaps = skip_to_flags(smaps);
    } else if (lines.empty()) {
      return malformed(line);
    } else if (line.starts_with(kFlags)) {
      apply_vm_flags(line.substr(kFlags.size()), &lines.back());
      if (lines.back().vma.huge_page_shift() != 0) TRY(read_page_size(entry, &lines.back()));
    }
  }
  return lines;
}

}  // namespace ncr
