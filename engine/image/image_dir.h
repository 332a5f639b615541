// An image directory being written. Files appear under their final names; the inventory comes last, so a directory without inventory.img is not an
// image. Mode 0700 / 0600: a memory image is a secret.
#pragma once

#include <google/protobuf/message_lite.h>

#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/base/sys.h"
#include "inventory.pb.h"

namespace ncr {

class [[nodiscard]] ImageDir {
 public:
  // Creates the directory if needed (0700). Refuses one that holds an image already, or that another engine is writing (flock).
  static Result<ImageDir> create(const std::string& path);
  ImageDir(ImageDir&&) noexcept;
  ~ImageDir();  // unless committed, removes the files it made: no half image stays

  const Fd& fd() const { return dir_; }
  const std::string& path() const { return path_; }

  // Writes NAME as a sequence of length-prefixed records (docs/image-format.md) with a file header; remembers its checksum for the inventory.
  Result<> write_records(const std::string& name, const std::vector<const google::protobuf::MessageLite*>& records);
  // A raw file written by the caller (pages-1.img); its size is read at commit.
  Result<Fd> create_raw(const std::string& name);

  // Fills in the file table, syncs every file, writes inventory.img, syncs the directory. After this the image is durable.
  Result<> commit(schema::Inventory inventory);

  uint64_t bytes_written() const;

 private:
  struct Impl;
  explicit ImageDir(Fd dir, std::string path);
  Fd dir_;
  std::string path_;
  std::vector<schema::FileEntry> files_;
  bool committed_ = false;
};

}  // namespace ncr
