// A small sound image to write, damage and read back.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "engine/image/image_dir.h"
#include "engine/image/image_reader.h"
#include "engine/image/record_file.h"

namespace ncr {

class ScratchDir {
 public:
  ScratchDir() : path_("/tmp/nativecr-test-XXXXXX") { EXPECT_NE(::mkdtemp(path_.data()), nullptr); }
  ~ScratchDir() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline void put_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

inline std::string get_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// A root of two threads with a heap and shared memory, a child, a zombie.
struct SampleImage {
  schema::Inventory inventory;
  std::vector<schema::Task> tasks;
  std::vector<schema::OpenFile> files;
  std::vector<schema::SharedMemory> shared_memory;
  std::vector<schema::PageMap> page_maps;
  std::string pages;

  SampleImage();
  // As Image::open() would hand it out, without a directory.
  Image image() const;
};

// Writes and commits.
void write_sample(ImageDir& images, const SampleImage& sample);

}  // namespace ncr
