// The framing of every .img file but the page payload (docs/image-format.md): a header, then
// length-prefixed protobuf records. Pure: bytes in, bytes out.
#pragma once

#include <google/protobuf/message_lite.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"

namespace ncr {

constexpr uint32_t kImageFormatVersion = 1;
constexpr size_t kChecksumSize = 16;

// Canonical (big-endian) xxh3-128.
std::string checksum_of(const void* data, size_t size);
inline std::string checksum_of(std::string_view bytes) {
  return checksum_of(bytes.data(), bytes.size());
}

using Records = std::vector<const google::protobuf::MessageLite*>;

// The bytes of the file `name` ("tasks.img"). kUnsupported: a record above 2 GiB.
Result<std::string> build_record_file(const std::string& name, const Records& records);

// The record bytes, as views into `file`. Malformed: not such a file, another type of file, a newer
// format, a length that leaves the file, bytes behind the last record.
Result<std::vector<std::string_view>> split_record_file(const std::string& name,
                                                        std::string_view file);

// The inventory has nobody to vouch for it, so it ends in its own checksum.
std::string seal(std::string file);
Result<std::string_view> unseal(const std::string& name, std::string_view file);

}  // namespace ncr
