// The directories of a request: where the image is, and where the log and the statistics go.
#pragma once

#include <string>
#include <vector>

#include "frontends/criu/descriptor.h"
#include "frontends/criu/options.h"
#include "frontends/criu/status.h"

namespace criu {

class Places {
 public:
  Status open(const Options& options);

  int images() const { return images_.get(); }
  int work() const { return work_.valid() ? work_.get() : images_.get(); }
  // The images directory by its descriptor: nobody can put another in its place.
  const std::string& images_path() const { return images_path_; }
  const std::string& images_name() const { return images_name_; }  // for people and scripts
  // A text of the engine, with the directory's name in place of its descriptor.
  std::string named(std::string text) const;

 private:
  Descriptor images_;
  Descriptor work_;
  std::string images_path_;
  std::string images_name_;
};

// The image that a dump into the same directory replaces: under other names until the new one is
// whole. The destructor puts it back, unless it was dropped.
class OldImage {
 public:
  explicit OldImage(int directory) : directory_(directory) {}
  OldImage(const OldImage&) = delete;
  ~OldImage();

  Status put_aside();
  void drop();

 private:
  int directory_;
  std::vector<std::string> names_;  // put aside, the inventory first
};

// Writes a whole file in a directory; what was there is lost.
Status write_file_at(int directory, const std::string& name, const std::string& content);

}  // namespace criu
