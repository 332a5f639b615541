// The vDSO: code that the kernel maps into every process, and the data pages beside it. Pure but
// for running_vdso().
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/memory/address_ranges.h"
#include "task.pb.h"

namespace ncr::vdso {

// The kernel's special mappings, ascending: [vvar], [vvar_vclock], [vdso], in any split.
struct Special {
  AddressRange range;
  bool code;
};

struct Running {
  std::vector<Special> mappings;
  std::string code;  // the bytes of [vdso]; empty if the kernel maps none
};

std::vector<Special> special_mappings(const std::vector<OwnMapping>& mappings);
std::vector<Special> recorded_mappings(const schema::Memory& memory);
Result<Running> running_vdso(const std::vector<OwnMapping>& mappings);

// Whether one can take the place of the other: the same mappings at the same distances, and the
// same code.
bool same_layout(const std::vector<Special>& a, const std::vector<Special>& b);

std::string build_id(const std::string& code);  // of the GNU build id note; empty if none

// The old code with every exported function turned into a jump to its namesake in `running`, which
// is mapped at running_address; a function that the running vDSO lacks makes the system call
// itself. kUnsupported: a function leaves no room for that.
Result<std::string> redirect(const std::string& old_code, const std::string& running,
                             uint64_t running_address);

// Offset of a system call instruction in the code.
Result<uint64_t> find_system_call(const std::string& code);

}  // namespace ncr::vdso
