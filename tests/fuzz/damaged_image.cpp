#include "tests/fuzz/damaged_image.h"

#include <unistd.h>

#include "engine/image/image_dir.h"
#include "engine/image/record_file.h"
#include "tests/engine/image/sample_image.h"

namespace ncr {
namespace {

constexpr const char* kRecordFiles[] = {kTasksFile, kFilesFile, kSharedMemoryFile, kPagemapFile};

Records pointers(const auto& records) {
  Records out;
  for (const auto& record : records) out.push_back(&record);
  return out;
}

// The records of each file, without header: edits there would only be refused by the magic.
struct Contents {
  std::string files[4];
  std::string pages;
};

constexpr char kParent[] = "parent-image";

// What a damaged image may be incremental to; made once.
void put_parent(const std::string& dir) {
  SampleImage sample;
  sample.inventory.set_uuid(std::string(16, 'p'));
  Result<ImageDir> images = ImageDir::create(dir + "/" + kParent);
  if (images.ok()) write_sample(images.value(), sample);
}

Contents sound_contents(bool incremental) {
  SampleImage sample;
  if (incremental) sample.page_maps[0].mutable_runs(0)->set_in_parent(2 * kPageSize);
  Contents contents;
  contents.pages = sample.pages;
  schema::ChunkTable table;
  table.add_chunks()->set_size(sample.pages.size());
  table.mutable_chunks(0)->set_xxh3_128(checksum_of(sample.pages));
  Records pagemap = pointers(sample.page_maps);
  pagemap.insert(pagemap.begin(), &table);
  contents.files[0] = build_record_file(kTasksFile, pointers(sample.tasks)).take();
  contents.files[1] = build_record_file(kFilesFile, pointers(sample.files)).take();
  contents.files[2] = build_record_file(kSharedMemoryFile, pointers(sample.shared_memory)).take();
  contents.files[3] = build_record_file(kPagemapFile, pagemap).take();
  return contents;
}

void edit(Contents& contents, const uint8_t* e) {
  std::string& file = contents.files[e[0] & 3];
  if (file.empty()) return;
  size_t at = static_cast<size_t>(e[1] | (e[2] << 8)) % file.size();
  switch (e[0] >> 2 & 3) {
    case 0:
    case 1:
      file[at] = static_cast<char>(e[3]);
      break;
    case 2:
      file.insert(at, 1, static_cast<char>(e[3]));
      break;
    default:
      file.erase(at, 1 + e[3] % 8);
  }
}

void put(const std::string& dir, schema::Inventory& inventory, const char* name,
         const std::string& bytes, bool checksum) {
  put_file(dir + "/" + name, bytes);
  schema::FileEntry* entry = inventory.add_files();
  entry->set_name(name);
  entry->set_size(bytes.size());
  if (checksum) entry->set_xxh3_128(checksum_of(bytes));
}

}  // namespace

Result<> open_damaged(const char* dir, const uint8_t* edits, size_t size) {
  const bool incremental = size > 0 && (edits[0] & 0x80) != 0;
  if (incremental) put_parent(dir);
  Contents contents = sound_contents(incremental);
  for (size_t at = 0; at + 4 <= size; at += 4) edit(contents, edits + at);
  schema::Inventory inventory = SampleImage().inventory;
  inventory.set_format_version(kImageFormatVersion);
  inventory.set_uuid(std::string(16, 'u'));
  if (incremental) {
    inventory.set_parent(kParent);
    inventory.set_parent_uuid(std::string(16, 'p'));
  }
  for (int i = 0; i < 4; i++) put(dir, inventory, kRecordFiles[i], contents.files[i], true);
  put(dir, inventory, kPagesFile, contents.pages, false);
  put_file(std::string(dir) + "/" + kInventoryFile,
           seal(build_record_file(kInventoryFile, {&inventory}).take()));
  Result<Image> image = Image::open(dir, PageCheck::kVerify);
  for (const char* name :
       {kInventoryFile, kTasksFile, kFilesFile, kSharedMemoryFile, kPagemapFile, kPagesFile}) {
    (void)::unlink((std::string(dir) + "/" + name).c_str());
  }
  if (image.ok()) return {};
  return image.take_error();
}

}  // namespace ncr
