// What the CPU offers to programs, and whether another one offers as much. Runs in the engine.
//
// A program asks the CPU at its start which instructions there are (CPUID, HWCAP) and remembers the
// answer: glibc chose its memcpy by it. So a feature that is gone kills the program at some later
// instruction, and the image is refused instead. Of x86's flags only those count that mean
// instructions of user mode; the rest tells of the kernel, of power management or of speed. On
// other architectures every flag is such an instruction set.
#include "engine/image/cpu.h"

#include <unistd.h>

#include <algorithm>
#include <set>
#include <string_view>
#include <vector>

#include "arch_current/cpu.h"
#include "engine/base/sys.h"

namespace ncr {
namespace {

constexpr std::string_view kX86Instructions[] = {"fpu",
                                                 "cx8",
                                                 "cmov",
                                                 "mmx",
                                                 "mmxext",
                                                 "3dnow",
                                                 "3dnowext",
                                                 "fxsr",
                                                 "fxsr_opt",
                                                 "clflush",
                                                 "sse",
                                                 "sse2",
                                                 "pni",
                                                 "ssse3",
                                                 "sse4_1",
                                                 "sse4_2",
                                                 "sse4a",
                                                 "misalignsse",
                                                 "cx16",
                                                 "pclmulqdq",
                                                 "fma",
                                                 "fma4",
                                                 "xop",
                                                 "tbm",
                                                 "lwp",
                                                 "movbe",
                                                 "popcnt",
                                                 "abm",
                                                 "lahf_lm",
                                                 "aes",
                                                 "f16c",
                                                 "rdrand",
                                                 "rdseed",
                                                 "rdtscp",
                                                 "rdpid",
                                                 "fsgsbase",
                                                 "bmi1",
                                                 "bmi2",
                                                 "adx",
                                                 "hle",
                                                 "rtm",
                                                 "mpx",
                                                 "pku",
                                                 "ospke",
                                                 "sha_ni",
                                                 "sha512",
                                                 "sm3",
                                                 "sm4",
                                                 "gfni",
                                                 "vaes",
                                                 "vpclmulqdq",
                                                 "xsave",
                                                 "xsaveopt",
                                                 "xsavec",
                                                 "xgetbv1",
                                                 "clflushopt",
                                                 "clwb",
                                                 "cldemote",
                                                 "clzero",
                                                 "movdiri",
                                                 "movdir64b",
                                                 "waitpkg",
                                                 "serialize",
                                                 "tsxldtrk",
                                                 "enqcmd",
                                                 "avx",
                                                 "avx2",
                                                 "avx_vnni",
                                                 "avx_ifma",
                                                 "avx_vnni_int8",
                                                 "avx_vnni_int16",
                                                 "avx_ne_convert",
                                                 "cmpccxadd",
                                                 "raoint",
                                                 "prefetchi",
                                                 "user_shstk",
                                                 "ibt",
                                                 "monitorx",
                                                 "mwaitx",
                                                 "ptwrite",
                                                 "rdpru",
                                                 "wbnoinvd",
                                                 "lkgs",
                                                 "3dnowprefetch",
                                                 "prefetchwt1"};

constexpr std::string_view kX86Families[] = {"avx512", "avx10", "amx_"};

bool matters(std::string_view feature, bool x86) {
  if (!x86) return true;
  auto begins = [feature](std::string_view family) { return feature.starts_with(family); };
  return std::any_of(std::begin(kX86Families), std::end(kX86Families), begins) ||
         std::find(std::begin(kX86Instructions), std::end(kX86Instructions), feature) !=
             std::end(kX86Instructions);
}

std::string component_name(uint32_t index) {
  switch (index) {
    case 0:
    case 1:
      return "x87/SSE";
    case 2:
      return "AVX";
    case 3:
    case 4:
      return "MPX";
    case 5:
    case 6:
    case 7:
      return "AVX-512";
    case 9:
      return "protection keys (PKRU)";
    case 17:
    case 18:
      return "AMX";
    case 19:
      return "APX";
    default:
      return strf("XSAVE component %u", index);
  }
}

void add_name(std::string* list, const std::string& name) {
  if (list->find(name) != std::string::npos) return;
  if (!list->empty()) *list += ", ";
  *list += name;
}

std::string or_unknown(const std::string& model) { return model.empty() ? "unknown CPU" : model; }

Error lesser_cpu(const schema::Inventory& image, const schema::Cpu& here, const std::string& what) {
  return Error::malformed(strf(
      "the image was made on another CPU (%s): %s (this is %s). Restore it on a machine that has "
      "them, or start the "
      "program on the lesser machine and checkpoint it there",
      or_unknown(image.cpu().model()).c_str(), what.c_str(), or_unknown(here.model()).c_str()));
}

const schema::XsaveComponent* find(const schema::Cpu& cpu, uint32_t index) {
  for (const schema::XsaveComponent& component : cpu.xsave_layout()) {
    if (component.index() == index) return &component;
  }
  return nullptr;
}

Result<> check_register_state(const schema::Inventory& image, const schema::Cpu& here) {
  std::string missing, moved;
  for (uint32_t index = 0; index < 63; index++) {
    if ((image.cpu().xsave_mask() >> index & 1) == 0) continue;
    if ((here.xsave_mask() >> index & 1) == 0) {
      add_name(&missing, component_name(index));
      continue;
    }
    const schema::XsaveComponent* then = find(image.cpu(), index);
    const schema::XsaveComponent* now = find(here, index);
    if (then == nullptr || now == nullptr) continue;
    if (then->offset() != now->offset() || then->size() != now->size()) {
      add_name(&moved, component_name(index));
    }
  }
  if (!missing.empty()) {
    return lesser_cpu(image, here, "register state in use has no place here: " + missing);
  }
  if (!moved.empty()) {
    return lesser_cpu(image, here,
                      "register state in use is laid out in another way here: " + moved);
  }
  return {};
}

Result<> check_features(const schema::Inventory& image, const schema::Cpu& here) {
  std::set<std::string_view> present(here.features().begin(), here.features().end());
  bool x86 = image.arch() == "x86_64";
  std::string missing;
  for (const std::string& feature : image.cpu().features()) {
    if (!matters(feature, x86) || present.count(feature) != 0) continue;
    if (!missing.empty()) missing += ", ";
    missing += feature;
  }
  if (missing.empty()) return {};
  return lesser_cpu(image, here,
                    "its programs may use instructions that are missing here: " + missing);
}

// The value of "name    : value" in this line, or nothing.
std::string_view value_of(std::string_view line, std::string_view name) {
  if (!line.starts_with(name)) return {};
  line.remove_prefix(name.size());
  size_t text = line.find_first_not_of(" \t");
  if (text == std::string_view::npos || line[text] != ':') return {};
  line.remove_prefix(text + 1);
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  return line;
}

void add_features(std::string_view words, schema::Cpu* cpu) {
  while (!words.empty()) {
    std::string_view word = words.substr(0, words.find(' '));
    if (!word.empty()) cpu->add_features(std::string(word));
    words.remove_prefix(std::min(word.size() + 1, words.size()));
  }
}

}  // namespace

void parse_cpuinfo(const std::string& cpuinfo, schema::Cpu* cpu) {
  std::string_view rest = cpuinfo;
  while (!rest.empty()) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    if (line.empty() && cpu->features_size() > 0) return;  // the end of the first CPU
    if (std::string_view model = value_of(line, "model name"); !model.empty()) {
      cpu->set_model(std::string(model));
    }
    for (std::string_view name : {"flags", "Features"}) {
      if (std::string_view words = value_of(line, name); !words.empty()) add_features(words, cpu);
    }
  }
}

Result<schema::Cpu> describe_this_cpu() {
  schema::Cpu cpu;
  std::string cpuinfo = TRY(sys::read_file("/proc/cpuinfo"));
  parse_cpuinfo(cpuinfo, &cpu);
  cpu.set_xsave_mask(arch::xsave_mask());
  cpu.set_xsave_size(arch::xsave_size());
  for (uint32_t index = 2; index < 63; index++) {
    if ((cpu.xsave_mask() >> index & 1) == 0) continue;
    arch::XsaveComponent component = arch::xsave_component(index);
    schema::XsaveComponent* record = cpu.add_xsave_layout();
    record->set_index(index);
    record->set_offset(component.offset);
    record->set_size(component.size);
  }
  return cpu;
}

Result<> check_cpu(const schema::Inventory& image, const schema::Cpu& here) {
  if (image.arch() != arch::kName) {
    return Error::malformed(strf("the image is of another architecture: %s, this machine is %s",
                                 image.arch().c_str(), arch::kName));
  }
  auto page_size = static_cast<uint32_t>(::sysconf(_SC_PAGESIZE));
  if (image.page_size() != page_size) {
    return Error::malformed(
        strf("the image has pages of %u bytes, this kernel of %u", image.page_size(), page_size));
  }
  TRY(check_register_state(image, here));
  return check_features(image, here);
}

}  // namespace ncr
