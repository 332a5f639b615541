// Which room a VMA belongs to follows from the kernel's name for it and from its flags.
#include "engine/memory/vma_line.h"

#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "engine/base/deleted_mark.h"
#include "engine/base/strf.h"

namespace ncr {
namespace {

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

}  // namespace

void classify_vma(std::string_view printed, Newlines newlines, VmaLine* line) {
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
  line->deleted = drop_deleted_mark(&printed);
  line->path = newlines == Newlines::kEscaped ? unescaped(printed) : std::string(printed);
  if (line->path.starts_with("anon_inode:")) {
    line->unsupported = strf("a mapping of %s", line->path.c_str());
  } else if (line->deleted && major(line->device) == 0) {
    classify_internal(line);
  } else if (line->path == "/dev/zero" && vma.kind() == schema::VMA_FILE_PRIVATE) {
    vma.set_kind(schema::VMA_ANONYMOUS);  // what the kernel makes of it, too
  }
}

namespace {

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
    case flag("mw"):
      line->may_write = true;
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

}  // namespace

void apply_vm_flags(std::string_view text, VmaLine* line) {
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

}  // namespace ncr
