// Offsets instead of (file, offset) pairs: whoever compares the places of two pages, or joins
// neighbours, need not know that an image may have ancestors.
#include "engine/image/page_files.h"

#include <algorithm>

#include "engine/base/ids.h"

namespace ncr {
namespace {

constexpr uint64_t kMostBytes = uint64_t{1} << 62;

}  // namespace

PageFiles::PageFiles(Fd file) { (void)add(std::move(file), kMostBytes); }

uint64_t PageFiles::next_start() const {
  return files_.empty() ? 0 : files_.back().start + files_.back().size + kPageSize;
}

uint64_t PageFiles::add(Fd file, uint64_t size) {
  const uint64_t start = next_start();
  files_.push_back({std::move(file), start, size});
  return start;
}

uint64_t PageFiles::add_all(PageFiles others) {
  const uint64_t start = next_start();
  for (File& file : others.files_) (void)add(std::move(file.fd), file.size);
  return start;
}

const PageFiles::File* PageFiles::file_at(uint64_t offset, uint64_t size) const {
  auto behind = std::upper_bound(files_.begin(), files_.end(), offset,
                                 [](uint64_t at, const File& file) { return at < file.start; });
  if (behind == files_.begin()) return nullptr;
  const File& file = *std::prev(behind);
  const uint64_t inside = offset - file.start;
  return size <= file.size && inside <= file.size - size ? &file : nullptr;
}

bool PageFiles::contains(uint64_t offset, uint64_t size) const {
  return file_at(offset, size) != nullptr;
}

Result<PageFiles::Piece> PageFiles::find(uint64_t offset, uint64_t size) const {
  const File* file = file_at(offset, size);
  if (file == nullptr)
    return Error::malformed(
        strf("no page is stored at %llx", static_cast<unsigned long long>(offset)));
  return Piece{file->fd.get(), offset - file->start, static_cast<size_t>(file - files_.data())};
}

Result<> PageFiles::read(void* to, uint64_t size, uint64_t offset) const {
  const File* file = file_at(offset, size);
  if (file == nullptr || !file->fd.valid())
    return Error::malformed(
        strf("no page is stored at %llx", static_cast<unsigned long long>(offset)));
  return sys::pread_exact(file->fd, to, size, offset - file->start);
}

}  // namespace ncr
