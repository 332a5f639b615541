// Dedup: pages that an image's ancestors store and the image does not use are given up; the file
// system gets their room back (holes in pages-1.img).
//
// The order makes a kill at any moment harmless. Checksums count dropped pages as zeroes whatever
// they hold, so the new chunk table is true before and after the hole is made. The new page map
// file waits under a name of its own until the inventory that knows its checksum is in place; a
// reader that finds the old one takes that (engine/image/image_reader.cpp).
#include "engine/dedup.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>

#include "engine/image/image_dir.h"
#include "engine/image/image_reader.h"
#include "engine/image/page_check.h"
#include "engine/image/record_file.h"

namespace ncr {
namespace {

// Runs of the pages of all files that the image refers to.
RunSet used_pages(const Image& image) {
  std::vector<AddressRun> runs;
  auto add = [&](const schema::PageMap& map) {
    for (const schema::PageRun& run : map.runs())
      if (run.place_case() == schema::PageRun::kStored) runs.push_back({run.stored(), run.pages()});
  };
  for (const auto& [pid, map] : image.task_pages) add(map);
  for (const auto& [id, map] : image.shmem_pages) add(map);
  std::sort(runs.begin(), runs.end(),
            [](const AddressRun& a, const AddressRun& b) { return a.start < b.start; });
  RunSet used;
  for (const AddressRun& run : runs) {
    const uint64_t start = used.empty() ? run.start : std::max(run.start, used.back().end());
    append(&used, start, run.end());
  }
  return used;
}

void mark(schema::Chunk* chunk, uint64_t page) {
  std::string* bits = chunk->mutable_dropped();
  if (bits->size() <= page / 8) bits->resize(page / 8 + 1, '\0');
  (*bits)[page / 8] = static_cast<char>((*bits)[page / 8] | 1 << (page % 8));
}

// Brings the table up to date; `drop` ascends, offsets in the file.
Result<> drop_from(schema::ChunkTable* table, const RunSet& drop, const PageFiles& pages,
                   uint64_t start) {
  uint64_t at = 0;
  std::string bytes;
  for (schema::Chunk& chunk : *table->mutable_chunks()) {
    const RunSet here = intersection(drop, {{at, chunk.size() / kPageSize}});
    if (!here.empty()) {
      for (const AddressRun& run : here)
        for (uint64_t page = run.start; page < run.end(); page += kPageSize)
          mark(&chunk, (page - at) / kPageSize);
      bytes.resize(chunk.size());
      TRY(pages.read(bytes.data(), bytes.size(), start + at));
      clear_dropped(chunk, bytes.data());
      chunk.set_xxh3_128(checksum_of(bytes));
    }
    at += chunk.size();
  }
  return {};
}

Result<> write_file(const Fd& dir, const char* name, const std::string& bytes) {
  (void)::unlinkat(dir.get(), name, 0);
  Fd file = TRY(sys::open_at(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  TRY(sys::write_all(file, bytes.data(), bytes.size()));
  TRY(SYSCALL(::fdatasync(file.get()), "sync %s", name));
  return {};
}

Result<> rename_to(const Fd& dir, const char* from, const char* to) {
  TRY(SYSCALL(::renameat(dir.get(), from, dir.get(), to), "rename %s to %s", from, to));
  TRY(SYSCALL(::fsync(dir.get()), "sync the image directory"));
  return {};
}

template <class Record>
Result<Record> parsed(const char* name, std::string_view bytes) {
  Record record;
  if (record.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return record;
  return Error::malformed(strf("%s: a record cannot be read", name));
}

// The files of one ancestor that say where its pages are.
struct Books {
  schema::Inventory inventory;
  schema::ChunkTable chunks;
  std::vector<schema::PageMap> maps;

  static Result<Books> read(const Fd& dir) {
    Books books;
    const std::string sealed = TRY(sys::read_file_at(dir, kInventoryFile));
    const std::string_view inventory = TRY(unseal(kInventoryFile, sealed));
    const std::vector<std::string_view> inventories =
        TRY(split_record_file(kInventoryFile, inventory));
    const std::string page_map = TRY(sys::read_file_at(dir, kPagemapFile));
    const std::vector<std::string_view> records = TRY(split_record_file(kPagemapFile, page_map));
    if (inventories.empty() || records.empty())
      return Error::malformed("the image was changed meanwhile");
    books.inventory = TRY(parsed<schema::Inventory>(kInventoryFile, inventories[0]));
    books.chunks = TRY(parsed<schema::ChunkTable>(kPagemapFile, records[0]));
    for (size_t i = 1; i < records.size(); i++)
      books.maps.push_back(TRY(parsed<schema::PageMap>(kPagemapFile, records[i])));
    return books;
  }

  uint64_t pages_size() const {
    uint64_t size = 0;
    for (const schema::Chunk& chunk : chunks.chunks()) size += chunk.size();
    return size;
  }

  Result<std::string> page_map_file() const {
    Records records = {&chunks};
    for (const schema::PageMap& map : maps) records.push_back(&map);
    return build_record_file(kPagemapFile, records);
  }

  Result<> write_back(const Fd& dir) {
    const std::string page_map = TRY(page_map_file());
    for (schema::FileEntry& entry : *inventory.mutable_files()) {
      if (entry.name() != kPagemapFile) continue;
      entry.set_size(page_map.size());
      entry.set_xxh3_128(checksum_of(page_map));
    }
    const std::string sealed = seal(TRY(build_record_file(kInventoryFile, {&inventory})));
    TRY(write_file(dir, kNewPagemapFile, page_map));
    TRY(write_file(dir, kNewInventoryFile, sealed));
    TRY(rename_to(dir, kNewInventoryFile, kInventoryFile));
    return rename_to(dir, kNewPagemapFile, kPagemapFile);
  }
};

Result<> lock(const Fd& dir) {
  Result<int> locked = SYSCALL(::flock(dir.get(), LOCK_EX | LOCK_NB), "lock the directory");
  if (locked.ok()) return {};
  return Error::usage("another engine is at work in this directory: wait for it");
}

Result<> punch(const Fd& dir, const RunSet& drop) {
  Fd file = TRY(sys::open_at(dir, kPagesFile, O_WRONLY | O_NOFOLLOW));
  for (const AddressRun& run : drop) {
    Result<int> punched = SYSCALL(
        ::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                    static_cast<off_t>(run.start), static_cast<off_t>(run.pages * kPageSize)),
        "make holes in %s", kPagesFile);
    if (!punched.ok() && punched.error().os_error() == EOPNOTSUPP)
      return Error::unsupported("its file system has no files with holes");
    TRY(std::move(punched));
  }
  return {};
}

// Returns how many pages were given up.
Result<uint64_t> dedup_one(const Ancestor& ancestor, const RunSet& used, const PageFiles& pages) {
  TRY(lock(ancestor.dir));
  // A rename that a killed dedup did not come to.
  if (::faccessat(ancestor.dir.get(), kNewPagemapFile, F_OK, AT_SYMLINK_NOFOLLOW) == 0 &&
      ancestor.has_new_page_map)
    TRY(rename_to(ancestor.dir, kNewPagemapFile, kPagemapFile));
  Books books = TRY(Books::read(ancestor.dir));
  const RunSet all = {{0, books.pages_size() / kPageSize}};
  RunSet in_use;
  for (const AddressRun& run : intersection(used, {{ancestor.start, all.front().pages}}))
    append(&in_use, run.start - ancestor.start, run.end() - ancestor.start);
  const RunSet unused = difference(all, in_use);
  const RunSet drop = difference(unused, dropped_pages(books.chunks, 0));
  if (!drop.empty()) {
    TRY(drop_from(&books.chunks, drop, pages, ancestor.start));
    TRY(books.write_back(ancestor.dir));
  }
  // Also what a killed dedup has marked and not come to.
  TRY(punch(ancestor.dir, unused));
  return count_pages(drop);
}

}  // namespace

Result<DedupReport> dedup(const std::string& images_dir) {
  const Image image = TRY(Image::open(images_dir, PageCheck::kVerify));
  const RunSet used = used_pages(image);
  DedupReport report;
  for (const Ancestor& ancestor : image.ancestors)
    report.pages +=
        TRY_WHILE(dedup_one(ancestor, used, image.pages), "parent image %s", ancestor.name.c_str());
  return report;
}

}  // namespace ncr
