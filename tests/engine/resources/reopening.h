// Descriptors of this process dumped by their rooms and opened again by them, in one process:
// everything of a room but the parasite, the restorer and fork.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <vector>

#include "engine/memory/shared_memory_table.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/file_table.h"
#include "engine/resources/tty/orphan_terminals.h"

namespace ncr {

template <class T>
T value_of(Result<T> result) {
  EXPECT_TRUE(result.ok()) << result.error().text();
  return result.ok() ? result.take() : T{};
}

class Reopening {
 public:
  Reopening() {
    table_.store_content_in(shared_memory_);
    task_.set_pid(::getpid());
  }

  // Dumps what is open at `fd`. The caller closes it afterwards, or not.
  uint32_t dump(int fd) { return value_of(table_.add_local(Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)))); }

  const schema::OpenFile& record(uint32_t id) const { return *table_.records().at(id - 1); }

  // Opens and connects everything that was dumped, in order of id.
  Result<> restore(const RestoreRequest& request = {}) {
    keep_records_only();
    return open_all(request);
  }

  // What was dumped is in the image now; the descriptors that dump() held are closed.
  void keep_records_only() {
    EXPECT_TRUE(table_.finish().ok());
    for (const schema::OpenFile* file : table_.records()) image_.files[file->id()] = *file;
    table_ = FileTable();
    table_.store_content_in(shared_memory_);
  }

  // Where restore() opened it.
  int opened(uint32_t id) const { return value_of(files_->opened(id)); }
  Image& image() { return image_; }
  const tty::OrphanTerminals* orphans = nullptr;
  FileTable& table() { return table_; }

 private:
  Result<> open_all(const RestoreRequest& request) {
    request_ = request;
    plan_.image = &image_;
    plan_.service_fd_base = 200;
    plan_.tasks.resize(1);
    plan_.tasks[0].record = &task_;
    plan_.tasks[0].pid = task_.pid();
    for (const auto& [id, file] :
         std::map<uint32_t, schema::OpenFile>(image_.files.begin(), image_.files.end()))
      plan_.tasks[0].owned_files.push_back(id);
    files_ = std::make_unique<FileRestorer>(plan_, request_);
    files_->set_orphans(orphans);
    return files_->open_owned(task_);
  }

  SharedMemoryTable shared_memory_;
  FileTable table_;
  schema::Task task_;
  Image image_;
  RestorePlan plan_;
  RestoreRequest request_;
  std::unique_ptr<FileRestorer> files_;
};

}  // namespace ncr
