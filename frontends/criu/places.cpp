#include "frontends/criu/places.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>

namespace criu {
namespace {

Status open_directory(const std::string& path, const char* what, Descriptor* directory) {
  *directory = Descriptor(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory->valid()) return {};
  return Status::system(std::string("open the ") + what + " directory " + path, errno);
}

std::string name_of(int fd) {
  char name[PATH_MAX];
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t size = ::readlink(link.c_str(), name, sizeof name);
  return size > 0 ? std::string(name, static_cast<size_t>(size)) : link;
}

std::string aside(const std::string& name) { return "." + name + ".before"; }

}  // namespace

Status Places::open(const Options& options) {
  Status opened = open_directory(options.images_dir, "images", &images_);
  if (opened.ok() && !options.work_dir.empty())
    opened = open_directory(options.work_dir, "work", &work_);
  if (!opened.ok()) return opened;
  images_path_ = "/proc/self/fd/" + std::to_string(images_.get());
  images_name_ = name_of(images_.get());
  return {};
}

std::string Places::named(std::string text) const {
  if (images_path_.empty()) return text;
  for (size_t at = 0; (at = text.find(images_path_, at)) != std::string::npos;) {
    const size_t end = at + images_path_.size();
    const bool longer_number = end < text.size() && text[end] >= '0' && text[end] <= '9';
    if (!longer_number) text.replace(at, images_path_.size(), images_name_);
    at += longer_number ? 1 : images_name_.size();
  }
  return text;
}

// The inventory goes first and comes back last: without it the rest is no image
// (docs/image-format.md).
Status OldImage::put_aside() {
  for (const char* name :
       {"inventory.img", "tasks.img", "files.img", "shared_memory.img", "namespaces.img",
        "cgroups.img", "seccomp.img", "pagemap.img", "pages-1.img"}) {
    if (::renameat(directory_, name, directory_, aside(name).c_str()) == 0)
      names_.emplace_back(name);
    else if (errno != ENOENT)
      return Status::system(std::string("rename ") + name, errno);
  }
  return {};
}

void OldImage::drop() {
  for (const std::string& name : names_) ::unlinkat(directory_, aside(name).c_str(), 0);
  names_.clear();
}

OldImage::~OldImage() {
  for (auto name = names_.rbegin(); name != names_.rend(); ++name)
    ::renameat(directory_, aside(*name).c_str(), directory_, name->c_str());
}

Status write_file_at(int directory, const std::string& name, const std::string& content) {
  Descriptor file(::openat(directory, name.c_str(),
                           O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file.valid()) return Status::system("create " + name, errno);
  for (size_t done = 0; done < content.size();) {
    const ssize_t wrote = ::write(file.get(), content.data() + done, content.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return Status::system("write " + name, errno);
    done += static_cast<size_t>(wrote);
  }
  return {};
}

}  // namespace criu
