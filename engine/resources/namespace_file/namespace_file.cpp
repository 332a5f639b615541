// A file of nsfs names a namespace (struct ns_common) and keeps it alive: what opening
// /proc/PID/ns/X gives, NS_GET_USERNS and NS_GET_PARENT, SIOCGSKNS of a socket, or opening a place
// where it is mounted (ip netns). One that a task of the tree is in, or that nothing but the tree
// holds, is the restored one afterwards; that of the engine is that of whoever restores. recognises
// and dump run in the engine, open in the child.
#include <fcntl.h>
#include <sys/stat.h>

#include "engine/base/procfs.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/file_table.h"
#include "engine/resources/namespaces/namespaces.h"
#include "engine/resources/room.h"
#include "engine/resources/unsupported.h"

namespace ncr::namespace_file {
namespace {

constexpr int64_t kNsfsMagic = 0x6e736673;  // linux/magic.h

bool recognises(const FdProbe& probe) {
  if (probe.stat.st_mode != (S_IFREG | 0444) || probe.stat.st_size != 0) return false;
  Result<int64_t> file_system = file_system_of(probe.local);
  return file_system.ok() && file_system.value() == kNsfsMagic;
}

// Of one that was opened as a path (O_PATH) nothing can be asked.
Result<Fd> open_readable(const FdProbe& probe) {
  return sys::open(strf("/proc/self/fd/%d", probe.local.get()).c_str(), O_RDONLY);
}

Result<> dump(FileTable& files, const FdProbe& probe, schema::OpenFile* record) {
  const Fd readable = TRY(open_readable(probe));
  const NamespaceRoom& room = *TRY(namespaces::room_of(readable));
  schema::NamespaceFile* file = record->mutable_namespace_file();
  file->set_kind(room.name);
  file->set_namespace_id(TRY(files.namespace_of(readable, probe.where())));
  file->set_by_path(probe.link.starts_with("/") && probe.is_at(probe.link));
  return {};
}

Result<Fd> open(FileRestorer& files, const schema::OpenFile& record) {
  const schema::NamespaceFile& file = record.namespace_file();
  const int flags = static_cast<int>(record.flags() & (O_ACCMODE | O_PATH | O_NONBLOCK));
  if (file.by_path()) return sys::open(record.path().c_str(), flags);
  const int kept = files.namespace_descriptor(file.kind(), file.namespace_id());
  if (kept >= 0) return procfs::open(strf("self/fd/%d", kept), flags);
  if (file.namespace_id() != 0 || file.kind().find('/') != std::string::npos)
    return Error::malformed(
        strf("%s namespace %u was not made", file.kind().c_str(), file.namespace_id()));
  return procfs::open(strf("self/ns/%s", file.kind().c_str()), flags);
}

}  // namespace

extern const FdRoom kRoom = {.name = "namespace_file",
                             .kind = schema::OpenFile::kNamespaceFile,
                             .recognises = recognises,
                             .dump = dump,
                             .open = open};

}  // namespace ncr::namespace_file
