// The exported functions of a vDSO, from its bytes. Pure; nothing in the bytes is trusted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ncr::vdso {

struct Function {
  std::string name;
  uint64_t offset;  // in the image
  uint64_t size;
};

std::vector<Function> functions_of(const std::string& elf);  // empty if it is no ELF image
std::string note_of(const std::string& elf, uint32_t type);  // a note of owner "GNU", its content

}  // namespace ncr::vdso
