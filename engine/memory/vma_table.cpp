// VMAs: ranges of an address space with one backing and one protection. The kernel keeps them in
// mm->mm_mt and prints one header line and about 25 "Name: value" lines for each in
// /proc/PID/smaps. Userspace cannot see from this text whether a name was escaped, nor which
// mappings share an object that has no name.
//
// This runs while the tree stands still, so it makes one pass over the text and looks at three of
// the lines.
#include "engine/memory/vma_table.h"

#include <sys/mman.h>
#include <sys/sysmacros.h>

#include <bit>
#include <charconv>
#include <cstring>

namespace ncr {
namespace {

constexpr std::string_view kDeleted = " (deleted)";

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

// The kernel escapes newlines in names, and nothing else.
std::string unescaped(std::string_view printed) {
  std::string name;
  for (size_t at; (at = printed.find("\\012")) != std::string_view::npos;) {
    name.append(printed.substr(0, at)).push_back('\n');
    printed.remove_prefix(at + 4);
  }
  return name.append(printed);
}

// Names in brackets are the kernel's own: special mappings, and anonymous memory with a name.
void classify_bracketed(std::string_view name, VmaLine* line) {
  schema::Vma& vma = line->vma;
  bool shared = vma.kind() == schema::VMA_FILE_SHARED;
  vma.set_kind(shared ? schema::VMA_SHMEM : schema::VMA_ANONYMOUS);
  constexpr std::string_view kAnon = "[anon:", kAnonShmem = "[anon_shmem:";
  if (name.starts_with(kAnon)) {
    vma.set_name(std::string(name.substr(kAnon.size(), name.size() - kAnon.size() - 1)));
  } else if (name.starts_with(kAnonShmem)) {
    vma.set_name(std::string(name.substr(kAnonShmem.size(), name.size() - kAnonShmem.size() - 1)));
  } else if (name == "[heap]") {
    vma.set_heap(true);
  } else if (name == "[vdso]") {
    vma.set_kind(schema::VMA_VDSO);
  } else if (name.starts_with("[vvar")) {
    vma.set_kind(schema::VMA_VVAR);
  } else if (name == "[vsyscall]") {
    vma.set_kind(schema::VMA_VSYSCALL);
  } else if (name != "[stack]") {
    line->unsupported =
        strf("the kernel's mapping %.*s", static_cast<int>(name.size()), name.data());
  }
}

// Objects of the kernel's internal tmpfs, which look like deleted files in the root directory.
void classify_internal(VmaLine* line) {
  schema::Vma& vma = line->vma;
  const std::string& path = line->path;
  bool shared = vma.kind() == schema::VMA_FILE_SHARED;
  if (path == "/dev/zero" || path.starts_with("/memfd:")) {
    if (shared) vma.set_kind(schema::VMA_SHMEM);
  } else if (path.starts_with("/SYSV")) {
    vma.set_kind(schema::VMA_SYSV);
  } else if (path == "/anon_hugepage") {
    vma.set_kind(shared ? schema::VMA_SHMEM : schema::VMA_ANONYMOUS);
  } else if (path == "/[aio]") {
    vma.set_kind(schema::VMA_AIO);
  }
}

void classify(std::string_view printed, VmaLine* line) {
  schema::Vma& vma = line->vma;
  if (printed.empty()) {
    bool shared = vma.kind() == schema::VMA_FILE_SHARED;
    vma.set_kind(shared ? schema::VMA_SHMEM : schema::VMA_ANONYMOUS);
    return;
  }
  if (printed.front() == '[' && printed.back() == ']') {
    line->path = printed;
    return classify_bracketed(printed, line);
  }
  if (printed.ends_with(kDeleted)) {
    line->deleted = true;
    printed.remove_suffix(kDeleted.size());
  }
  line->path = unescaped(printed);
  if (line->path.starts_with("anon_inode:")) {
    line->unsupported = strf("a mapping of %s", line->path.c_str());
  } else if (line->deleted && major(line->device) == 0) {
    classify_internal(line);
  } else if (line->path == "/dev/zero" && vma.kind() == schema::VMA_FILE_PRIVATE) {
    vma.set_kind(schema::VMA_ANONYMOUS);  // what the kernel makes of it, too
  }
}

constexpr uint32_t flag(const char* name) {
  return static_cast<uint32_t>(name[0]) << 8 | static_cast<uint32_t>(name[1]);
}

void mark_unsupported(VmaLine* line, const char* what) {
  if (line->unsupported.empty()) line->unsupported = what;
}

void apply_flag(uint32_t mnemonic, VmaLine* line, bool& on_fault) {
  schema::Vma& vma = line->vma;
  switch (mnemonic) {
    case flag("dc"):
      vma.add_advice(MADV_DONTFORK);
      break;
    case flag("wf"):
      vma.add_advice(MADV_WIPEONFORK);
      break;
    case flag("hg"):
      vma.add_advice(MADV_HUGEPAGE);
      break;
    case flag("nh"):
      vma.add_advice(MADV_NOHUGEPAGE);
      break;
    case flag("mg"):
      vma.add_advice(MADV_MERGEABLE);
      break;
    case flag("dd"):
      vma.add_advice(MADV_DONTDUMP);
      break;
    case flag("sr"):
      vma.add_advice(MADV_SEQUENTIAL);
      break;
    case flag("rr"):
      vma.add_advice(MADV_RANDOM);
      break;
    case flag("gd"):
      vma.set_grows_down(true);
      break;
    case flag("lo"):
      vma.set_lock(std::max(vma.lock(), 1u));
      break;
    case flag("lf"):
    case flag("??"):  // kernels that lock on fault and have no letters for it
      on_fault = true;
      break;
    case flag("nr"):
      vma.set_no_reserve(true);
      break;
    case flag("dp"):
      vma.set_droppable(true);
      break;
    case flag("io"):
    case flag("pf"):
      line->unsupported_io = true;
      break;
    case flag("ht"):
      line->vma.set_huge_page_shift(1);  // read_page_size() looks for the number
      break;
    case flag("um"):
    case flag("uw"):
    case flag("ui"):
      mark_unsupported(line, "memory registered with a userfaultfd");
      break;
    case flag("ss"):
      mark_unsupported(line, "a shadow stack");
      break;
    case flag("sl"):
      mark_unsupported(line, "sealed memory (mseal)");
      break;
    default:
      break;
  }
}

// "rd wr mr mw me ac "
void parse_flags(std::string_view text, VmaLine* line) {
  line->flags = text;
  bool on_fault = false;
  for (size_t i = 0; i + 1 < text.size(); i++) {
    if (text[i] == ' ') continue;
    apply_flag(flag(text.data() + i), line, on_fault);
    i++;
  }
  if (on_fault && line->vma.lock() != 0) line->vma.set_lock(2);
  // The kernel has these pages pinned, locked or not.
  if (line->vma.kind() == schema::VMA_AIO) line->vma.clear_lock();
  schema::VmaKind kind = line->vma.kind();
  bool special =
      kind == schema::VMA_VDSO || kind == schema::VMA_VVAR || kind == schema::VMA_VSYSCALL;
  if (special) {
    line->unsupported_io = false;  // vvar is VM_IO or VM_PFNMAP, and ours to handle
    line->unsupported.clear();     // and all of these are sealed where the kernel was built so
    return;
  }
  if (line->unsupported_io) line->unsupported = "device memory";
}

Result<VmaLine> parse_header(std::string_view text) {
  VmaLine line;
  Cursor in{text.data(), text.data() + text.size()};
  if (!parse_numbers(in, &line)) return malformed(text);
  while (in.skip(' ')) {
  }
  classify(std::string_view(in.at, static_cast<size_t>(in.end - in.at)), &line);
  return line;
}

// "AnonHugePages:      2048 kB"
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

}  // namespace

Result<std::vector<VmaLine>> parse_smaps(std::string_view smaps) {
  constexpr std::string_view kFlags = "VmFlags: ", kHuge = "AnonHugePages:";
  std::vector<VmaLine> lines;
  lines.reserve(smaps.size() / 800 + 1);
  std::string_view entry;  // the rest of the text, from the last header on
  while (!smaps.empty()) {
    std::string_view line = smaps.substr(0, std::min(smaps.find('\n'), smaps.size()));
    smaps.remove_prefix(std::min(line.size() + 1, smaps.size()));
    bool header = !line.empty() && (line[0] < 'A' || line[0] > 'Z');
    if (header) {
      VmaLine next = TRY(parse_header(line));
      entry = {line.data(), line.size() + smaps.size()};
      lines.push_back(std::move(next));
    } else if (lines.empty()) {
      return malformed(line);
    } else if (line.starts_with(kFlags)) {
      parse_flags(line.substr(kFlags.size()), &lines.back());
      if (lines.back().vma.huge_page_shift() != 0) TRY(read_page_size(entry, &lines.back()));
    } else if (line.starts_with(kHuge)) {
      schema::Vma& vma = lines.back().vma;
      uint64_t bytes = kilobytes(line.substr(kHuge.size())) * 1024;
      if (bytes > (vma.end() - vma.start()) / 2) vma.set_huge(true);
    }
  }
  return lines;
}

}  // namespace ncr
