// Are the records of open files sound: references to other files and to memory resolve and have no
// circle, and what becomes a path is one. Pure. What only one room understands is that room's to
// check.
#include <unordered_map>

#include "engine/image/consistency.h"
#include "engine/image/image_dir.h"

namespace ncr::consistency {
namespace {

std::string name_of(const schema::OpenFile& file) { return strf("file %u", file.id()); }

// The paths of a record. Names of a socket are not among them: abstract ones begin with a zero
// byte.
std::vector<const std::string*> paths_of(const schema::OpenFile& file) {
  switch (file.kind_case()) {
    case schema::OpenFile::kRegularFile:
      return {&file.regular_file().path()};
    case schema::OpenFile::kDevice:
      return {&file.device().path()};
    case schema::OpenFile::kFifo:
      return {&file.fifo().path()};
    case schema::OpenFile::kInotify: {
      std::vector<const std::string*> paths;
      for (const schema::InotifyWatch& watch : file.inotify().watches()) {
        paths.push_back(&watch.path());
      }
      return paths;
    }
    case schema::OpenFile::kFanotify: {
      std::vector<const std::string*> paths;
      for (const schema::FanotifyMark& mark : file.fanotify().marks())
        paths.push_back(&mark.path());
      return paths;
    }
    case schema::OpenFile::kTty:
      if (!file.tty().machine_node().empty()) return {&file.tty().machine_node()};
      return {};
    case schema::OpenFile::kUnixSocket:
      if (file.unix_socket().has_node()) return {&file.unix_socket().node().path()};
      return {};
    default:
      return {};
  }
}

// Other files that this one refers to.
std::vector<uint32_t> references_of(const schema::OpenFile& file) {
  std::vector<uint32_t> ids(file.depends_on().begin(), file.depends_on().end());
  for (const schema::EpollTarget& target : file.epoll().targets()) ids.push_back(target.file_id());
  for (const schema::UnixMessage& message : file.unix_socket().queue()) {
    ids.insert(ids.end(), message.files().begin(), message.files().end());
  }
  return ids;
}

// Shared memory that this file refers to, 0 if none.
uint64_t memory_of(const schema::OpenFile& file) {
  if (file.has_memfd()) return file.memfd().shmem_id();
  if (file.has_regular_file()) return file.regular_file().ghost().content();
  return 0;
}

Result<> check_file(const schema::OpenFile& file, const Image& image) {
  if (file.id() == 0) return bad(kFilesFile, name_of(file), "its number");
  if (file.kind_case() == schema::OpenFile::KIND_NOT_SET) {
    return bad(kFilesFile, name_of(file), "of a kind that this nativecr does not know");
  }
  for (const std::string* path : paths_of(file)) {
    if (!is_name(*path, 4096)) return bad(kFilesFile, name_of(file), "a path that is none");
  }
  for (uint32_t id : references_of(file)) {
    if (image.files.count(id) == 0) {
      return bad(kFilesFile, name_of(file), "file %u is not in the image", id);
    }
  }
  if (file.owner().type() < 0 || file.owner().type() > 2 || file.owner().signal() < 0 ||
      file.owner().signal() > 64) {
    return bad(kFilesFile, name_of(file), "its owner");
  }
  if (memory_of(file) == 0) return {};
  for (const schema::SharedMemory& object : image.shared_memory) {
    if (object.id() == memory_of(file)) return {};
  }
  return bad(kFilesFile, name_of(file), "its content is not in the image");
}

// Whoever makes files in the order of depends_on would go around for ever.
class Circles {
 public:
  explicit Circles(const Image& image) : image_(image) {}

  Result<> check() {
    for (const auto& [id, file] : image_.files) TRY(follow(id));
    return {};
  }

 private:
  enum class State { kOpen, kClosed };
  struct Step {
    const schema::OpenFile* file;
    int next;
  };

  // Depth first, with a stack of its own: a long chain must not overflow ours.
  Result<> follow(uint32_t id) {
    std::vector<Step> path;
    enter(id, &path);
    while (!path.empty()) {
      Step& step = path.back();
      // An epoll takes its targets when all files are open, and a socket what is in flight in it:
      // each may be on its way through another, or through itself.
      if (step.file->has_epoll() || step.file->has_unix_socket())
        step.next = step.file->depends_on_size();
      if (step.next == step.file->depends_on_size()) {
        states_[step.file->id()] = State::kClosed;
        path.pop_back();
        continue;
      }
      uint32_t next = step.file->depends_on(step.next++);
      auto known = states_.find(next);
      if (known != states_.end() && known->second == State::kOpen) {
        return bad(kFilesFile, strf("file %u", next), "it depends on itself");
      }
      enter(next, &path);
    }
    return {};
  }

  void enter(uint32_t id, std::vector<Step>* path) {
    if (!states_.emplace(id, State::kOpen).second) return;
    path->push_back({&image_.files.at(id), 0});
  }

  const Image& image_;
  std::unordered_map<uint32_t, State> states_;
};

}  // namespace

Result<> check_files(const Image& image) {
  for (const auto& [id, file] : image.files) TRY(check_file(file, image));
  return Circles(image).check();
}

}  // namespace ncr::consistency
