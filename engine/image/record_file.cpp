// Header and framing of record files. All integers are little-endian; layout in
// docs/image-format.md.
//
// The header says which file this is, so that two files of one image that changed places are told
// apart even where their records would parse as each other's. Lengths are compared with what is
// left of the file before they are used for anything: a damaged length allocates nothing.
#include "engine/image/record_file.h"

#include <climits>
#include <cstring>

#include "engine/base/xxh3.h"

namespace ncr {
namespace {

// As PNG's: a transfer that mangles line ends or the eighth bit damages it.
constexpr char kMagic[8] = {'\x89', 'N', 'C', 'R', '\r', '\n', '\x1a', '\n'};
constexpr size_t kTypeSize = 16;
constexpr size_t kHeaderSize = sizeof kMagic + 2 * sizeof(uint32_t) + kTypeSize;

std::string type_of(const std::string& name) {
  std::string type = name.substr(0, name.find('.'));
  type.resize(kTypeSize);
  return type;
}

void put32(char* at, uint32_t value) {
  for (unsigned i = 0; i < 4; i++) at[i] = static_cast<char>(value >> (8 * i));
}

uint32_t get32(const char* at) {
  uint32_t value = 0;
  for (unsigned i = 0; i < 4; i++) {
    value |= static_cast<uint32_t>(static_cast<unsigned char>(at[i])) << (8 * i);
  }
  return value;
}

Result<> check_header(const std::string& name, std::string_view file) {
  if (file.size() < kHeaderSize || std::memcmp(file.data(), kMagic, sizeof kMagic) != 0) {
    return Error::malformed(strf("%s: not a file of a nativecr image", name.c_str()));
  }
  uint32_t version = get32(file.data() + 8);
  if (version > kImageFormatVersion) {
    return Error::malformed(
        strf("%s: written by a newer nativecr: format %u, this one reads up to %u", name.c_str(),
             version, kImageFormatVersion));
  }
  if (version == 0) return Error::malformed(strf("%s: format version 0", name.c_str()));
  std::string_view type = file.substr(16, kTypeSize);
  if (type != type_of(name)) {
    std::string said(type.substr(0, type.find('\0')));
    for (char& c : said) c = c < ' ' || c > '~' ? '?' : c;
    return Error::malformed(strf("%s: holds what belongs into %s.img", name.c_str(), said.c_str()));
  }
  return {};
}

}  // namespace

std::string checksum_of(const void* data, size_t size) {
  const Digest digest = xxh3_128(data, size);
  static_assert(sizeof digest == kChecksumSize);
  return std::string(reinterpret_cast<const char*>(digest.data()), kChecksumSize);
}

Result<std::string> build_record_file(const std::string& name, const Records& records) {
  size_t total = kHeaderSize;
  for (const google::protobuf::MessageLite* record : records) {
    size_t size = record->ByteSizeLong();
    if (size > INT_MAX) return Error::unsupported(strf("%s: a record above 2 GiB", name.c_str()));
    total += sizeof(uint32_t) + size;
  }
  std::string file(total, '\0');
  char* at = file.data();
  std::memcpy(at, kMagic, sizeof kMagic);
  put32(at + 8, kImageFormatVersion);
  put32(at + 12, static_cast<uint32_t>(records.size()));
  std::memcpy(at + 16, type_of(name).data(), kTypeSize);
  at += kHeaderSize;
  for (const google::protobuf::MessageLite* record : records) {
    size_t size = static_cast<size_t>(record->GetCachedSize());
    put32(at, static_cast<uint32_t>(size));
    at += sizeof(uint32_t);
    record->SerializeWithCachedSizesToArray(reinterpret_cast<uint8_t*>(at));
    at += size;
  }
  return file;
}

Result<std::vector<std::string_view>> split_record_file(const std::string& name,
                                                        std::string_view file) {
  TRY(check_header(name, file));
  uint32_t count = get32(file.data() + 12);
  std::string_view rest = file.substr(kHeaderSize);
  if (count > rest.size() / sizeof(uint32_t)) {
    return Error::malformed(strf("%s: ends before its %u records", name.c_str(), count));
  }
  std::vector<std::string_view> records;
  records.reserve(count);
  for (uint32_t i = 0; i < count; i++) {
    if (rest.size() < sizeof(uint32_t) || get32(rest.data()) > rest.size() - sizeof(uint32_t)) {
      return Error::malformed(strf("%s: ends inside record %u of %u", name.c_str(), i + 1, count));
    }
    records.push_back(rest.substr(sizeof(uint32_t), get32(rest.data())));
    rest.remove_prefix(sizeof(uint32_t) + records.back().size());
  }
  if (!rest.empty()) {
    return Error::malformed(
        strf("%s: %zu bytes behind its last record", name.c_str(), rest.size()));
  }
  return records;
}

std::string seal(std::string file) {
  file += checksum_of(file);
  return file;
}

Result<std::string_view> unseal(const std::string& name, std::string_view file) {
  if (file.size() < kHeaderSize + kChecksumSize) {
    return Error::malformed(strf("%s: cut short: %zu bytes", name.c_str(), file.size()));
  }
  std::string_view body = file.substr(0, file.size() - kChecksumSize);
  // The header first: a newer format may be sealed in another way.
  TRY(check_header(name, body));
  if (checksum_of(body) != file.substr(body.size())) {
    return Error::malformed(strf("%s: damaged: its checksum does not fit", name.c_str()));
  }
  return body;
}

}  // namespace ncr
