#include "engine/resources/room.h"

#define FD_ROOM(name)        \
  namespace ncr::name {      \
  extern const FdRoom kRoom; \
  }
#define TASK_ROOM(name)        \
  namespace ncr::name {        \
  extern const TaskRoom kRoom; \
  }
#define NAMESPACE_ROOM(name)        \
  namespace ncr::name {             \
  extern const NamespaceRoom kRoom; \
  }
#include "engine/resources/rooms.inc"
#undef FD_ROOM
#undef TASK_ROOM
#undef NAMESPACE_ROOM

namespace ncr {

const std::vector<const TaskRoom*>& task_rooms() {
  static const std::vector<const TaskRoom*> rooms = {
#define FD_ROOM(name)
#define TASK_ROOM(name) &name::kRoom,
#define NAMESPACE_ROOM(name)
#include "engine/resources/rooms.inc"
#undef FD_ROOM
#undef TASK_ROOM
#undef NAMESPACE_ROOM
  };
  return rooms;
}

const std::vector<const FdRoom*>& fd_rooms() {
  static const std::vector<const FdRoom*> rooms = {
#define FD_ROOM(name) &name::kRoom,
#define TASK_ROOM(name)
#define NAMESPACE_ROOM(name)
#include "engine/resources/rooms.inc"
#undef FD_ROOM
#undef TASK_ROOM
#undef NAMESPACE_ROOM
  };
  return rooms;
}

const std::vector<const NamespaceRoom*>& namespace_rooms() {
  static const std::vector<const NamespaceRoom*> rooms = {
#define FD_ROOM(name)
#define TASK_ROOM(name)
#define NAMESPACE_ROOM(name) &name::kRoom,
#include "engine/resources/rooms.inc"
#undef FD_ROOM
#undef TASK_ROOM
#undef NAMESPACE_ROOM
  };
  return rooms;
}

const FdRoom* fd_room_of(schema::OpenFile::KindCase kind) {
  for (const FdRoom* room : fd_rooms())
    if (room->kind == kind) return room;
  return nullptr;
}

const NamespaceRoom* namespace_room_of(schema::Namespace::ContentCase kind) {
  for (const NamespaceRoom* room : namespace_rooms())
    if (room->kind == kind) return room;
  return nullptr;
}

bool FdProbe::is_at(const std::string& path) const {
  return view != nullptr ? view->names(path, stat) : MountView().names(path, stat);
}

std::string FdProbe::where() const { return strf("fd %d (%s)", raw(number), link.c_str()); }

}  // namespace ncr
