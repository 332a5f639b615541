// An image directory being written. Files appear under their final names; the inventory comes last,
// so a directory without inventory.img is not an image. Mode 0700 / 0600: a memory image is a
// secret.
#pragma once

#include <google/protobuf/message_lite.h>

#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/sys.h"
#include "inventory.pb.h"

namespace ncr {

// The files of an image. What each holds is in docs/image-format.md.
inline constexpr char kInventoryFile[] = "inventory.img";
inline constexpr char kTasksFile[] = "tasks.img";                 // Task
inline constexpr char kFilesFile[] = "files.img";                 // OpenFile; may be absent
inline constexpr char kSharedMemoryFile[] = "shared_memory.img";  // SharedMemory; may be absent
inline constexpr char kNamespacesFile[] = "namespaces.img";       // Namespace; may be absent
inline constexpr char kCgroupsFile[] = "cgroups.img";             // CgroupHierarchy; may be absent
inline constexpr char kSeccompFile[] = "seccomp.img";             // SeccompFilter; may be absent
inline constexpr char kPagemapFile[] = "pagemap.img";             // ChunkTable, then PageMap ...
inline constexpr char kPagesFile[] = "pages-1.img";               // raw pages
inline constexpr char kPageHashesFile[] = "page_hashes.img";      // PageHashes; may be absent
// Of an image that is being changed (engine/dedup.cpp); no part of it.
inline constexpr char kNewInventoryFile[] = ".inventory.img.new";
inline constexpr char kNewPagemapFile[] = ".pagemap.img.new";
inline constexpr char kParentLink[] = "parent";  // to the directory of the parent

// Adds the way out to an error that says that the file system of `path` is full; others stay as
// they are.
Error explain_no_room(Error error, const std::string& path);

// A page server may be writing pages-1.img into the same directory.
enum class PagesAt { kDir, kServer };

class [[nodiscard]] ImageDir {
 public:
  // Creates the directory if needed (0700). Refuses one that holds an image or the rest of one
  // already, or that another engine is writing (flock).
  static Result<ImageDir> create(const std::string& path, PagesAt pages = PagesAt::kDir);
  ImageDir(ImageDir&&) noexcept = default;
  ~ImageDir();  // unless committed, removes the files it made: no half image stays

  const Fd& fd() const { return dir_; }
  const std::string& path() const { return path_; }

  // Writes NAME as a sequence of length-prefixed records (docs/image-format.md) with a file header;
  // remembers its checksum for the inventory.
  Result<> write_records(const std::string& name,
                         const std::vector<const google::protobuf::MessageLite*>& records);
  // A file that somebody else writes into this directory, or into one that is put together with it.
  void add_elsewhere(const std::string& name, uint64_t size);
  // The link to the images directory that this one is incremental to; a path relative to it.
  Result<> link_parent(const std::string& parent);
  // A raw file written by the caller (pages-1.img); its size is read at commit.
  Result<Fd> create_raw(const std::string& name);

  // Fills in the file table, the format version and a uuid, syncs every file, writes inventory.img,
  // syncs the directory. After this the image is durable.
  Result<> commit(schema::Inventory inventory);

  // Takes a committed image back: the destructor removes it.
  void withdraw() { committed_ = false; }

  uint64_t bytes_written() const;

 private:
  struct Made {
    std::string name;
    Fd fd;
    std::string checksum;  // empty: a raw file
  };
  struct Elsewhere {
    std::string name;
    uint64_t size;
  };

  ImageDir(Fd dir, std::string path, bool made_dir);
  Result<> create_file(const std::string& name, std::string checksum);
  Result<> lock();
  Result<> refuse_leftovers(PagesAt pages);
  Result<> list_files(schema::Inventory* inventory);
  Result<> sync_files();
  Result<> publish(const std::string& inventory);

  Fd dir_;
  std::string path_;
  bool made_dir_ = false;
  std::vector<Made> files_;
  std::vector<Elsewhere> elsewhere_;
  bool linked_parent_ = false;
  uint64_t inventory_size_ = 0;
  bool inventory_begun_ = false;
  bool committed_ = false;
};

}  // namespace ncr
