// Where the page pump puts pages: a file of the image, or a page server.
#pragma once

#include <string>

#include "engine/base/sys.h"

namespace ncr {

class PageOutput {
 public:
  virtual ~PageOutput() = default;
  // From several threads; the places do not overlap, and together they have no gap.
  virtual Result<> write(const char* data, uint64_t size, uint64_t offset) = 0;
  // Once, when all `size` bytes were written: they are where they belong.
  virtual Result<> finish(uint64_t size) = 0;
};

class FileOutput : public PageOutput {
 public:
  // `path` is for messages.
  FileOutput(Fd file, std::string path) : file_(std::move(file)), path_(std::move(path)) {}
  Result<> write(const char* data, uint64_t size, uint64_t offset) override;
  Result<> finish(uint64_t size) override;

 private:
  Fd file_;
  std::string path_;
};

}  // namespace ncr
