// What is in the namespaces of a frozen tree.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <optional>

#include "engine/base/quiet_thread.h"
#include "engine/resources/namespaces/namespaces.h"
#include "engine/resources/room.h"

namespace ncr::namespaces {

// Of a tree that runs: by inode of the namespace.
class [[nodiscard]] NamespacePreparation {
 public:
  // On the side, in the namespaces of the root of the tree that are not those of `own` and will be
  // looked at.
  void begin(const DumpRequest& request, const Links& own);
  void finish() { threads_.clear(); }
  const Prepared* of(uint64_t inode) const;

 private:
  std::map<uint64_t, std::unique_ptr<Prepared>> prepared_;
  std::list<QuietThread> threads_;  // last: they write to the others
};

// Every namespace is entered on a thread of its own. Where the room allows it, that thread works
// from begin() on, beside the look at the tasks.
class [[nodiscard]] NamespaceReading {
 public:
  NamespaceReading(NamespaceTable& table, const std::vector<Task>& tasks,
                   const DumpRequest& request, SharedMemoryTable& content,
                   const NamespacePreparation& prepared)
      : table_(table), tasks_(tasks), request_(request), content_(content), prepared_(prepared) {}
  NamespaceReading(const NamespaceReading&) = delete;

  Result<> begin();
  // Names what of them cannot be restored.
  Result<> finish(Blockers& blockers);

 private:
  struct Visit {
    Visit(const NamespaceRoom& visited, NamespaceProbe asked, size_t index)
        : room(visited), probe(std::move(asked)), record(index) {}
    void begin(const schema::Namespace& as_known);

    const NamespaceRoom& room;
    NamespaceProbe probe;
    size_t record;              // of the table, which may grow meanwhile
    schema::Namespace written;  // takes its place
    Blockers blockers;
    // A thread that cannot be started is an error here: the caller's own must stay where it is.
    Result<> outcome =
        Error::system(EAGAIN, "no thread could be started to enter the namespace with");
    std::optional<QuietThread> thread;
  };

  Result<> add_visits();
  Result<Fd> open(const NamespaceRoom& room, size_t record) const;
  void begin(Visit& visit);
  void visit_again();
  void check_shared_mounts(Blockers& blockers) const;

  NamespaceTable& table_;
  const std::vector<Task>& tasks_;
  const DumpRequest& request_;
  SharedMemoryTable& content_;
  const NamespacePreparation& prepared_;
  size_t seen_ = 0;          // records of the table
  std::list<Visit> visits_;  // threads point at them
};

}  // namespace ncr::namespaces
