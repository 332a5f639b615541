// The filter programs of a tree during a dump, each stored once.
#pragma once

#include <google/protobuf/message_lite.h>

#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/resources/blockers.h"
#include "engine/tree/frozen_tree.h"
#include "seccomp.pb.h"

namespace ncr::seccomp {

class FilterTable {
 public:
  // The filters of every thread of a stopped task. What cannot be read, suspended or made again is
  // named in `blockers`.
  Result<> add_task(const Task& task, schema::Task* record, Blockers& blockers);
  std::vector<const google::protobuf::MessageLite*> records() const;

 private:
  Result<> add_thread(const Task& task, const SeizedThread& thread, schema::Thread* record,
                      Blockers& blockers);
  Result<uint32_t> read_filter(pid_t tid, unsigned index);
  uint32_t id_of(std::string program, bool log);

  std::map<std::pair<std::string, bool>, uint32_t> ids_;
  std::deque<schema::SeccompFilter> records_;
  std::string buffer_;
};

// Whether some way through the program ends in SECCOMP_RET_USER_NOTIF: somebody outside the kernel
// decides. Pure.
bool asks_a_listener(const std::string& program);

}  // namespace ncr::seccomp
