// Content of files is stored where shared memory goes: runs of pages by offset. What no run covers
// is a hole. Runs in the child.
#include "engine/resources/file_content.h"

#include <unistd.h>

#include <algorithm>

#include "engine/base/ids.h"

namespace ncr {
namespace {

Result<> copy_range(const PageFiles& from, uint64_t from_offset, const Fd& to, uint64_t to_offset,
                    uint64_t size) {
  std::string buffer(std::min<uint64_t>(size, 1 << 20), '\0');
  while (size > 0) {
    size_t part = std::min<uint64_t>(size, buffer.size());
    TRY(from.read(buffer.data(), part, from_offset));
    TRY(sys::pwrite_all(to, buffer.data(), part, to_offset));
    from_offset += part;
    to_offset += part;
    size -= part;
  }
  return {};
}

}  // namespace

Result<> write_content(const Image& image, uint64_t content, uint64_t size, const std::string& name,
                       const Fd& file) {
  TRY(SYSCALL(::ftruncate(file.get(), static_cast<off_t>(size)), "give %s its %llu bytes",
              name.c_str(), static_cast<unsigned long long>(size)));
  if (content == 0) return {};
  auto pages = image.shmem_pages.find(content);
  if (pages == image.shmem_pages.end())
    return Error::malformed(strf("the content of %s is missing", name.c_str()));
  for (const schema::PageRun& run : pages->second.runs()) {
    if (run.place_case() != schema::PageRun::kStored || run.start() >= size) continue;
    // The last page may reach beyond the end.
    uint64_t length = std::min(run.pages() * kPageSize, size - run.start());
    TRY(copy_range(image.pages, run.stored(), file, run.start(), length));
  }
  return {};
}

}  // namespace ncr
