// The vDSO and its data pages: special mappings that only the kernel can make, one set per process,
// movable as a whole with mremap (Linux 4.8). A program knows their address (auxv, and pointers
// that libc resolved at its start), so a restored task needs the code where it was. On the same
// kernel the running vDSO is moved there. On another kernel the recorded code is put there as
// ordinary memory, each function a jump into the running vDSO, which is kept elsewhere.
#include "engine/resources/vdso/vdso.h"

#include <elf.h>

#include <algorithm>
#include <cstring>

#include "arch_current/vdso.h"
#include "engine/resources/room.h"
#include "engine/resources/vdso/elf_functions.h"
#include "engine/tracee/remote_memory.h"

namespace ncr::vdso {
namespace {

bool is_special(const std::string& name) { return name == "[vdso]" || name.rfind("[vvar", 0) == 0; }

uint64_t size_of(const AddressRange& range) { return range.end - range.start; }

const Function* find(const std::vector<Function>& functions, const std::string& name) {
  for (const Function& function : functions)
    if (function.name == name) return &function;
  return nullptr;
}

// Dump: every task of a tree has the same code, so it is stored once, with the root.
Result<> look_mapped(const Task& task, schema::Task* record) {
  schema::Vdso* vdso = record->mutable_vdso();
  for (const Special& special : recorded_mappings(record->memory())) {
    if (!special.code) {
      if (vdso->vvar_size() == 0) vdso->set_vvar_address(special.range.start);
      vdso->set_vvar_size(special.range.end - vdso->vvar_address());
      continue;
    }
    std::string code(size_of(special.range), '\0');
    TRY(read_remote(task.pid, RemoteAddress{special.range.start}, code.data(), code.size()));
    vdso->set_address(special.range.start);
    vdso->set_size(size_of(special.range));
    vdso->set_build_id(build_id(code));
    task.vdso = known_vdso(special.range.start, code);
    if (record->ppid() == 0 || vdso->build_id().empty()) vdso->set_image(std::move(code));
  }
  return {};
}

}  // namespace

extern const TaskRoom kRoom = {.name = "vdso", .look_mapped = look_mapped};

std::vector<Special> special_mappings(const std::vector<OwnMapping>& mappings) {
  std::vector<Special> specials;
  for (const OwnMapping& mapping : mappings)
    if (is_special(mapping.name)) specials.push_back({mapping.range, mapping.name == "[vdso]"});
  return specials;
}

std::vector<Special> recorded_mappings(const schema::Memory& memory) {
  std::vector<Special> specials;
  for (const schema::Vma& vma : memory.vmas())
    if (vma.kind() == schema::VMA_VDSO || vma.kind() == schema::VMA_VVAR)
      specials.push_back({{vma.start(), vma.end()}, vma.kind() == schema::VMA_VDSO});
  return specials;
}

Result<Running> running_vdso(const std::vector<OwnMapping>& mappings) {
  Running running{special_mappings(mappings), {}};
  for (const Special& special : running.mappings)
    if (special.code)
      running.code.assign(reinterpret_cast<const char*>(special.range.start),
                          size_of(special.range));
  if (running.code.empty()) return Error::unsupported("this kernel maps no vDSO");
  return running;
}

bool same_layout(const std::vector<Special>& a, const std::vector<Special>& b) {
  return std::equal(
      a.begin(), a.end(), b.begin(), b.end(), [&](const Special& x, const Special& y) {
        return x.code == y.code && size_of(x.range) == size_of(y.range) &&
               x.range.start - a.front().range.start == y.range.start - b.front().range.start;
      });
}

std::string build_id(const std::string& code) { return note_of(code, NT_GNU_BUILD_ID); }

Result<std::string> redirect(const std::string& old_code, const std::string& running,
                             uint64_t running_address) {
  const std::vector<Function> targets = functions_of(running);
  std::string code = old_code;
  for (const Function& function : functions_of(old_code)) {
    if (arch::vdso_keeps(function.name)) continue;
    const Function* target = find(targets, function.name);
    const long fallback = arch::vdso_fallback(function.name);
    if (target == nullptr && fallback < 0) continue;
    const std::string patch = target != nullptr
                                  ? arch::vdso_jump(running_address + target->offset)
                                  : arch::vdso_system_call(static_cast<uint32_t>(fallback));
    if (patch.size() > function.size || function.offset > code.size() ||
        patch.size() > code.size() - function.offset)
      return Error::unsupported(strf("the vDSO function %s has no room for a jump to this kernel's",
                                     function.name.c_str()));
    std::memcpy(code.data() + function.offset, patch.data(), patch.size());
  }
  return code;
}

Result<uint64_t> find_system_call(const std::string& code) {
  for (size_t at = code.find(arch::kSystemCallInstruction); at != std::string::npos;
       at = code.find(arch::kSystemCallInstruction, at + 1))
    if (at % arch::kInstructionAlignment == 0) return at;
  return Error::unsupported("this kernel's vDSO has no system call instruction");
}

}  // namespace ncr::vdso
