// What is in the namespaces of a frozen tree.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <optional>

#include "engine/resources/namespaces/namespaces.h"
#include "engine/resources/namespaces/visitor.h"
#include "engine/resources/room.h"

namespace ncr::namespaces {

// Of a tree that runs: by inode of the namespace.
class [[nodiscard]] NamespacePreparation {
 public:
  // On the side, in the namespaces of the root of the tree that are not those of `own` and will be
  // looked at.
  void begin(const DumpRequest& request, const Links& own);
  void finish();
  const Prepared* of(uint64_t inode) const;
  // One that nobody has; most were started by begin(). It stays until dismiss().
  Visitor& visitor();
  // To be called once the tree runs on: that takes time, and until then they are in there.
  void dismiss() { visitors_.clear(); }

 private:
  std::map<uint64_t, std::unique_ptr<Prepared>> prepared_;
  size_t taken_ = 0;             // of the visitors, from the front
  std::list<Visitor> visitors_;  // last: they write to the others
};

// Namespaces are entered by visitors. Where the room allows it, one works from begin() on, beside
// the look at the tasks.
class [[nodiscard]] NamespaceReading {
 public:
  NamespaceReading(NamespaceTable& table, const std::vector<Task>& tasks,
                   const DumpRequest& request, SharedMemoryTable& content,
                   NamespacePreparation& prepared)
      : table_(table), tasks_(tasks), request_(request), content_(content), prepared_(prepared) {}
  NamespaceReading(const NamespaceReading&) = delete;
  ~NamespaceReading();

  Result<> begin();
  // Names what of them cannot be restored.
  Result<> finish(Blockers& blockers);

 private:
  struct Visit {
    Visit(const NamespaceRoom& visited, NamespaceProbe asked, size_t index)
        : room(visited), probe(std::move(asked)), record(index) {}
    void look();
    void wait();

    const NamespaceRoom& room;
    NamespaceProbe probe;
    size_t record;              // of the table, which may grow meanwhile
    schema::Namespace written;  // takes its place
    Blockers blockers;
    // A thread that cannot be started is an error here.
    Result<> outcome =
        Error::system(EAGAIN, "no thread could be started to enter the namespace with");
    Visitor* visitor = nullptr;  // once it works beside the tasks
  };

  Result<> add_visits();
  Result<Fd> open(const NamespaceRoom& room, size_t record) const;
  void prepare(Visit& visit) const;
  void begin_beside(Visit& visit);
  void do_now(Visit& visit);
  void visit_again();
  void check_shared_mounts(Blockers& blockers) const;

  NamespaceTable& table_;
  const std::vector<Task>& tasks_;
  const DumpRequest& request_;
  SharedMemoryTable& content_;
  NamespacePreparation& prepared_;
  size_t seen_ = 0;             // records of the table
  std::list<Visit> visits_;     // visitors point at them
  Visitor* visitor_ = nullptr;  // of what is visited one after the other
  bool sees_mounts_ = false;    // the visitor: the engine's /proc is out of its sight
};

}  // namespace ncr::namespaces
