// Reads an image directory. Runs in the engine, before anything of a restore is created.
//
// An image may come from anywhere: cut short by a full disk, bit-flipped, put together from two
// images, or made by an enemy. Nothing is opened through a symbolic link or waits on a FIFO, sizes
// are those of the inventory and of fstat(2) before memory is taken for them, every byte is covered
// by a checksum, and check_consistency() looks at what the checksums cannot vouch for.
#include "engine/image/image_reader.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <set>

#include "engine/image/image_dir.h"
#include "engine/image/page_check.h"
#include "engine/image/record_file.h"

namespace ncr {
namespace {

constexpr uint64_t kMaxInventory = 16u << 20;
constexpr uint64_t kMaxRecordFile = uint64_t{4} << 30;

struct OpenedFile {
  Fd fd;
  uint64_t size = 0;
};

Result<OpenedFile> open_regular(const Fd& dir, const std::string& name) {
  // O_NONBLOCK: a FIFO of that name would keep us waiting for a writer.
  Result<Fd> opened = sys::open_at(dir, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!opened.ok()) {
    int why = opened.error().os_error();
    if (why == ENOENT) return Error::malformed(strf("%s: missing", name.c_str()));
    if (why == ELOOP || why == ENXIO) {
      return Error::malformed(strf("%s: not a regular file", name.c_str()));
    }
    return opened.take_error();
  }
  OpenedFile file{opened.take(), 0};
  struct stat status {};
  TRY(SYSCALL(::fstat(file.fd.get(), &status), "stat %s", name.c_str()));
  if (!S_ISREG(status.st_mode)) {
    return Error::malformed(strf("%s: not a regular file", name.c_str()));
  }
  file.size = static_cast<uint64_t>(status.st_size);
  return file;
}

Result<std::string> read_whole(const OpenedFile& file, const std::string& name, uint64_t limit) {
  if (file.size > limit) {
    return Error::malformed(strf("%s: %llu bytes, more than any such file has", name.c_str(),
                                 static_cast<unsigned long long>(file.size)));
  }
  std::string bytes(file.size, '\0');
  TRY_WHILE(sys::pread_exact(file.fd, bytes.data(), bytes.size(), 0), "%s", name.c_str());
  return bytes;
}

template <class Record>
Result<std::vector<Record>> parse_all(const std::string& name,
                                      const std::vector<std::string_view>& views, size_t first) {
  std::vector<Record> records(views.size() - first);
  for (size_t i = first; i < views.size(); i++) {
    if (!records[i - first].ParseFromArray(views[i].data(), static_cast<int>(views[i].size()))) {
      return Error::malformed(strf("%s: record %zu cannot be read", name.c_str(), i + 1));
    }
  }
  return records;
}

class Opening {
 public:
  Opening(Image* image, Fd dir) : image_(image), dir_(std::move(dir)) {}

  Result<> inventory() {
    Result<OpenedFile> file = open_regular(dir_, kInventoryFile);
    if (!file.ok()) {
      if (file.error().code() != ErrorCode::kMalformed) return file.take_error();
      return file.take_error().while_doing("not an image, or its dump did not finish");
    }
    std::string bytes = TRY(read_whole(file.value(), kInventoryFile, kMaxInventory));
    std::string_view body = TRY(unseal(kInventoryFile, bytes));
    std::vector<std::string_view> views = TRY(split_record_file(kInventoryFile, body));
    std::vector<schema::Inventory> records =
        TRY(parse_all<schema::Inventory>(kInventoryFile, views, 0));
    if (records.size() != 1) {
      return Error::malformed(
          strf("%s: %zu records instead of one", kInventoryFile, records.size()));
    }
    image_->inventory = std::move(records[0]);
    return {};
  }

  // The directory holds the files of the inventory and no other image file.
  Result<> file_table() {
    std::set<std::string> known = {kTasksFile,      kFilesFile,   kSharedMemoryFile,
                                   kNamespacesFile, kCgroupsFile, kSeccompFile,
                                   kPagemapFile,    kPagesFile,   kPageHashesFile};
    for (const schema::FileEntry& entry : image_->inventory.files()) {
      if (known.count(entry.name()) == 0) {
        return Error::malformed(strf("%s: lists an unknown or repeated file", kInventoryFile));
      }
      known.erase(entry.name());
      size_t checksum = entry.name() == kPagesFile ? 0 : kChecksumSize;
      if (entry.xxh3_128().size() != checksum) {
        return Error::malformed(
            strf("%s: the checksum of %s has a wrong size", kInventoryFile, entry.name().c_str()));
      }
    }
    for (const char* needed : {kTasksFile, kPagemapFile, kPagesFile}) {
      if (needed == kTasksFile && image_->inventory.memory_only()) continue;
      if (known.count(needed) != 0) {
        return Error::malformed(strf("%s: does not list %s", kInventoryFile, needed));
      }
    }
    return no_other_files();
  }

  Result<> records() {
    std::vector<std::string_view> views = TRY(load(kTasksFile));
    image_->tasks = TRY(parse_all<schema::Task>(kTasksFile, views, 0));
    views = TRY(load(kFilesFile));
    std::vector<schema::OpenFile> files = TRY(parse_all<schema::OpenFile>(kFilesFile, views, 0));
    for (schema::OpenFile& file : files) {
      uint32_t id = file.id();
      if (!image_->files.emplace(id, std::move(file)).second) {
        return Error::malformed(strf("%s: two files have id %u", kFilesFile, id));
      }
    }
    views = TRY(load(kSharedMemoryFile));
    image_->shared_memory = TRY(parse_all<schema::SharedMemory>(kSharedMemoryFile, views, 0));
    views = TRY(load(kNamespacesFile));
    image_->namespaces = TRY(parse_all<schema::Namespace>(kNamespacesFile, views, 0));
    views = TRY(load(kCgroupsFile));
    image_->cgroups = TRY(parse_all<schema::CgroupHierarchy>(kCgroupsFile, views, 0));
    views = TRY(load(kSeccompFile));
    std::vector<schema::SeccompFilter> filters =
        TRY(parse_all<schema::SeccompFilter>(kSeccompFile, views, 0));
    for (schema::SeccompFilter& filter : filters) {
      const uint32_t id = filter.id();
      if (!image_->seccomp_filters.emplace(id, std::move(filter)).second) {
        return Error::malformed(strf("%s: two filters have id %u", kSeccompFile, id));
      }
    }
    return {};
  }

  Result<schema::ChunkTable> page_maps() {
    std::vector<std::string_view> views = TRY(load(kPagemapFile));
    if (views.empty()) return Error::malformed(strf("%s: no chunk table", kPagemapFile));
    schema::ChunkTable chunks;
    if (!chunks.ParseFromArray(views[0].data(), static_cast<int>(views[0].size()))) {
      return Error::malformed(strf("%s: record 1 cannot be read", kPagemapFile));
    }
    std::vector<schema::PageMap> maps = TRY(parse_all<schema::PageMap>(kPagemapFile, views, 1));
    for (schema::PageMap& map : maps) {
      int32_t pid = map.pid();
      uint64_t shmem = map.shmem_id();
      bool fresh = pid != 0 ? image_->task_pages.emplace(pid, std::move(map)).second
                            : image_->shmem_pages.emplace(shmem, std::move(map)).second;
      if (!fresh) {
        return Error::malformed(strf("%s: two page maps of process %d, shared memory %llu",
                                     kPagemapFile, pid, static_cast<unsigned long long>(shmem)));
      }
    }
    return chunks;
  }

  Result<> pages(const schema::ChunkTable& chunks, PageCheck check) {
    const schema::FileEntry* entry = find(kPagesFile);
    TRY_WHILE(check_chunk_table(chunks, entry->size()), "%s", kPagemapFile);
    Fd pages;
    struct stat status {};
    const bool absent = check == PageCheck::kAbsent &&
                        ::fstatat(dir_.get(), kPagesFile, &status, AT_SYMLINK_NOFOLLOW) != 0;
    if (!absent) {
      OpenedFile file = TRY(open_listed(*entry, kPagesFile));
      if (check == PageCheck::kVerify) TRY_WHILE(verify_chunks(file.fd, chunks), "%s", kPagesFile);
      pages = std::move(file.fd);
    }
    const uint64_t start = image_->pages.add(std::move(pages), entry->size());
    image_->dropped = dropped_pages(chunks, start);
    return {};
  }

  // The directory that this image is incremental to. The link may have been set anew when the
  // directories were moved.
  Result<Fd> open_parent() const {
    Result<Fd> linked = sys::open_at(dir_, kParentLink, O_RDONLY | O_DIRECTORY);
    if (linked.ok() || linked.error().os_error() != ENOENT) return linked;
    const std::string& path = image_->inventory.parent();
    if (path.empty() || path.size() > 4096 || path.find('\0') != std::string::npos)
      return Error::malformed(strf("%s: its parent has no name", kInventoryFile));
    return sys::open_at(dir_, path.c_str(), O_RDONLY | O_DIRECTORY);
  }

  Ancestor take_directory(std::string name) {
    return {std::move(name), std::move(dir_), 0, has_new_page_map_};
  }

  Result<HashedPages> page_hashes() {
    HashedPages pages;
    std::vector<std::string_view> views = TRY(load(kPageHashesFile));
    const std::vector<schema::PageHashes> records =
        TRY(parse_all<schema::PageHashes>(kPageHashesFile, views, 0));
    for (const schema::PageHashes& record : records) {
      pages.seed = record.seed();
      pages.hashes += record.xxh3_128();
    }
    const uint64_t count = find(kPagesFile)->size() / kPageSize;
    if (views.empty() || pages.hashes.size() == count * kChecksumSize) return pages;
    return Error::malformed(strf("%s: not one for each page", kPageHashesFile));
  }

 private:
  const schema::FileEntry* find(const char* name) const {
    for (const schema::FileEntry& entry : image_->inventory.files()) {
      if (entry.name() == name) return &entry;
    }
    return nullptr;
  }

  Result<OpenedFile> open_listed(const schema::FileEntry& entry, const char* name) {
    OpenedFile file = TRY(open_regular(dir_, name));
    if (file.size == entry.size()) return file;
    return Error::malformed(strf("%s: %llu bytes, the inventory says %llu", name,
                                 static_cast<unsigned long long>(file.size),
                                 static_cast<unsigned long long>(entry.size())));
  }

  // The records of a file, as views into bytes_; none if the inventory does not list it.
  Result<std::vector<std::string_view>> load(const char* name) {
    const schema::FileEntry* entry = find(name);
    if (entry == nullptr) return std::vector<std::string_view>();
    Result<> loaded = load_as(name, *entry);
    if (!loaded.ok() && name == kPagemapFile && load_as(kNewPagemapFile, *entry).ok()) {
      has_new_page_map_ = true;
      loaded = Result<>();
    }
    TRY(std::move(loaded));
    return split_record_file(name, bytes_);
  }

  Result<> load_as(const char* name, const schema::FileEntry& entry) {
    OpenedFile file = TRY(open_listed(entry, name));
    bytes_ = TRY(read_whole(file, name, kMaxRecordFile));
    if (checksum_of(bytes_) == entry.xxh3_128()) return {};
    return Error::malformed(
        strf("%s: damaged, or of another image: its checksum does not fit", name));
  }

  Result<> no_other_files() {
    int copy =
        TRY(SYSCALL(::openat(dir_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open ."));
    DIR* listing = ::fdopendir(copy);
    if (listing == nullptr) {
      ::close(copy);
      return Error::system(ENOMEM, "list the image directory");
    }
    std::string stranger;
    while (const dirent* found = ::readdir(listing)) {
      std::string_view name = found->d_name;
      if (!name.ends_with(".img") || name == kInventoryFile) continue;
      if (find(found->d_name) == nullptr) stranger = name;
    }
    ::closedir(listing);
    if (stranger.empty()) return {};
    return Error::malformed(
        strf("%s: not of this image: the inventory does not list it", stranger.c_str()));
  }

  Image* image_;
  Fd dir_;
  std::string bytes_;
  bool has_new_page_map_ = false;
};

Result<> check_inventory(const schema::Inventory& inventory) {
  if (inventory.format_version() == 0 || inventory.format_version() > kImageFormatVersion) {
    return Error::malformed(strf("%s: format %u, this nativecr reads up to %u", kInventoryFile,
                                 inventory.format_version(), kImageFormatVersion));
  }
  if (inventory.uuid().size() != 16) {
    return Error::malformed(strf("%s: no uuid", kInventoryFile));
  }
  const size_t parent = inventory.parent_uuid().size();
  if ((parent != 0 && parent != 16) || inventory.parent().empty() != (parent == 0)) {
    return Error::malformed(strf("%s: its parent", kInventoryFile));
  }
  if (inventory.remote_pages() % kPageSize != 0 || inventory.remote_pages() > uint64_t{1} << 60) {
    return Error::malformed(strf("%s: the pages that are elsewhere", kInventoryFile));
  }
  return {};
}

// What this image is incremental to, up to the one that is not. Only their pages are of interest:
// the runs of an image say where in all of them its pages lie.
class Ancestors {
 public:
  Ancestors(Image* image, PageCheck check, bool hashes)
      : image_(image), check_(check), hashes_(hashes) {}

  Result<> open(Opening& opening) {
    constexpr size_t kMost = 4096;
    if (image_->inventory.parent_uuid().empty()) return {};
    std::set<std::string> seen = {image_->inventory.uuid()};
    std::string wanted = image_->inventory.parent_uuid();
    std::string name = image_->inventory.parent();
    Fd dir = TRY_WHILE(opening.open_parent(), "parent image %s", name.c_str());
    while (dir.valid()) {
      if (!seen.insert(wanted).second || seen.size() > kMost)
        return Error::malformed(strf("parent image %s: it is its own ancestor", name.c_str()));
      Image parent;
      dir = TRY_WHILE(open_one(std::move(dir), name, wanted, &parent), "parent image %s",
                      name.c_str());
      wanted = parent.inventory.parent_uuid();
      name = parent.inventory.parent();
    }
    return {};
  }

 private:
  // Returns the directory of its own parent, none if it is whole.
  Result<Fd> open_one(Fd dir, const std::string& name, const std::string& uuid, Image* parent) {
    Opening opening(parent, std::move(dir));
    TRY(opening.inventory());
    TRY(check_inventory(parent->inventory));
    if (parent->inventory.uuid() != uuid)
      return Error::malformed("not the image that this one was made on, its uuid is another");
    if (parent->inventory.remote_pages() != 0)
      return Error::malformed("its pages were never stored");
    TRY(opening.file_table());
    schema::ChunkTable chunks = TRY(opening.page_maps());
    TRY(opening.pages(chunks, check_));
    if (hashes_) image_->page_hashes.push_back(TRY(opening.page_hashes()));
    Fd next;
    if (!parent->inventory.parent_uuid().empty()) next = TRY(opening.open_parent());
    take_pages(*parent, opening.take_directory(name));
    return next;
  }

  void take_pages(Image& parent, Ancestor ancestor) {
    ancestor.start = image_->pages.add_all(std::move(parent.pages));
    for (const AddressRun& run : parent.dropped)
      append(&image_->dropped, ancestor.start + run.start, ancestor.start + run.end());
    if (image_->parents_start == 0) image_->parents_start = ancestor.start;
    image_->ancestors.push_back(std::move(ancestor));
  }

  Image* image_;
  PageCheck check_;
  bool hashes_;
};

// Runs of parents and of what the dump serves are runs of Image::pages from here on.
void resolve(Image* image, schema::PageMap* map) {
  for (schema::PageRun& run : *map->mutable_runs()) {
    if (run.place_case() == schema::PageRun::kInParent)
      run.set_stored(image->parents_start + run.in_parent());
    else if (run.place_case() == schema::PageRun::kRemote)
      run.set_stored(image->remote_start + run.remote());
  }
}

void resolve(Image* image) {
  if (image->inventory.remote_pages() != 0)
    image->remote_start = image->pages.add(Fd(), image->inventory.remote_pages());
  for (auto& [pid, map] : image->task_pages) resolve(image, &map);
  for (auto& [id, map] : image->shmem_pages) resolve(image, &map);
}

enum class Extent { kWhole, kMemory };

Result<> fill(Image* image, Fd dir, PageCheck check, Extent extent) {
  Opening opening(image, std::move(dir));
  TRY(opening.inventory());
  TRY(check_inventory(image->inventory));
  TRY(opening.file_table());
  const bool memory = extent == Extent::kMemory || image->inventory.memory_only();
  if (!memory) TRY(opening.records());
  schema::ChunkTable chunks = TRY(opening.page_maps());
  TRY(opening.pages(chunks, check));
  if (extent == Extent::kMemory) image->page_hashes.push_back(TRY(opening.page_hashes()));
  TRY(Ancestors(image, check, extent == Extent::kMemory).open(opening));
  TRY(memory ? check_page_maps_alone(*image) : check_consistency(*image));
  resolve(image);
  return {};
}

Result<Image> open_image(const std::string& path, PageCheck check, Extent extent) {
  Fd dir = TRY(sys::open(path.c_str(), O_RDONLY | O_DIRECTORY));
  Image image;
  image.path = path;
  TRY_WHILE(fill(&image, std::move(dir), check, extent), "image %s", path.c_str());
  return image;
}

}  // namespace

Result<Image> Image::open(const std::string& path, PageCheck check) {
  return open_image(path, check, Extent::kWhole);
}

Result<Image> Image::open_memory(const std::string& path, PageCheck check) {
  return open_image(path, check, Extent::kMemory);
}

Result<> refuse_memory_only(const Image& image) {
  if (!image.inventory.memory_only()) return {};
  return Error::unsupported(
      strf("image %s is a pre-dump, not a whole image: restore the dump that was made after it",
           image.path.c_str()));
}

}  // namespace ncr
