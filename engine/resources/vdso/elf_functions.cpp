// A vDSO is a small shared library, mapped whole: file offsets are memory offsets, and its section
// headers are there too. The dynamic symbols are what libc looks up.
#include "engine/resources/vdso/elf_functions.h"

#include <elf.h>

#include <cstring>
#include <optional>

namespace ncr::vdso {
namespace {

template <class T>
std::optional<T> read(const std::string& bytes, uint64_t offset) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

std::optional<Elf64_Ehdr> header_of(const std::string& elf) {
  std::optional<Elf64_Ehdr> header = read<Elf64_Ehdr>(elf, 0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return std::nullopt;
  return header;
}

std::optional<Elf64_Shdr> section(const std::string& elf, const Elf64_Ehdr& header,
                                  uint64_t index) {
  if (index >= header.e_shnum) return std::nullopt;
  return read<Elf64_Shdr>(elf, header.e_shoff + index * sizeof(Elf64_Shdr));
}

// The symbols say addresses as linked; the first loaded segment says where the image begins.
uint64_t load_address(const std::string& elf, const Elf64_Ehdr& header) {
  for (uint64_t i = 0; i < header.e_phnum; i++) {
    auto segment = read<Elf64_Phdr>(elf, header.e_phoff + i * sizeof(Elf64_Phdr));
    if (segment && segment->p_type == PT_LOAD) return segment->p_vaddr - segment->p_offset;
  }
  return 0;
}

std::string name_at(const std::string& elf, const Elf64_Shdr& names, uint64_t at) {
  if (at >= names.sh_size || names.sh_offset > elf.size()) return {};
  const uint64_t start = names.sh_offset + at;
  if (start >= elf.size()) return {};
  return std::string(elf.data() + start, ::strnlen(elf.data() + start, elf.size() - start));
}

}  // namespace

std::vector<Function> functions_of(const std::string& elf) {
  std::vector<Function> functions;
  auto header = header_of(elf);
  for (uint64_t i = 0; header && i < header->e_shnum; i++) {
    auto symbols = section(elf, *header, i);
    if (!symbols || symbols->sh_type != SHT_DYNSYM) continue;
    auto names = section(elf, *header, symbols->sh_link);
    for (uint64_t at = 0; names && at + sizeof(Elf64_Sym) <= symbols->sh_size;
         at += sizeof(Elf64_Sym)) {
      auto symbol = read<Elf64_Sym>(elf, symbols->sh_offset + at);
      if (!symbol) break;
      const unsigned type = ELF64_ST_TYPE(symbol->st_info);
      const bool code = type == STT_FUNC || type == STT_NOTYPE;
      if (!code || symbol->st_shndx == SHN_UNDEF || symbol->st_size == 0) continue;
      functions.push_back({name_at(elf, *names, symbol->st_name),
                           symbol->st_value - load_address(elf, *header), symbol->st_size});
    }
  }
  return functions;
}

std::string note_of(const std::string& elf, uint32_t type) {
  auto header = header_of(elf);
  for (uint64_t i = 0; header && i < header->e_phnum; i++) {
    auto segment = read<Elf64_Phdr>(elf, header->e_phoff + i * sizeof(Elf64_Phdr));
    if (!segment || segment->p_type != PT_NOTE) continue;
    for (uint64_t at = segment->p_offset; at < segment->p_offset + segment->p_filesz;) {
      auto note = read<Elf64_Nhdr>(elf, at);
      if (!note) break;
      const uint64_t name = at + sizeof(Elf64_Nhdr);
      const uint64_t content = name + ((note->n_namesz + 3ull) & ~3ull);
      at = content + ((note->n_descsz + 3ull) & ~3ull);
      if (at > elf.size()) break;
      if (note->n_type == type && elf.compare(name, 4, std::string("GNU\0", 4)) == 0)
        return elf.substr(content, note->n_descsz);
    }
  }
  return {};
}

}  // namespace ncr::vdso
