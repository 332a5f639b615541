// An epoll instance is a set of items, each keyed by open file description and the descriptor
// number it was registered under; fdinfo shows the number, events and user data of each. The number
// may be closed or name something else by now, while the description lives on: kcmp(KCMP_EPOLL_TFD)
// says which description an item means. At restore an item must be added under the same number, or
// the program's next EPOLL_CTL_MOD finds nothing; the number is borrowed for the call. An item
// disarmed by EPOLLONESHOT cannot be told from one with no events but EPOLLERR and EPOLLHUP, which
// the kernel always adds: if one of these comes before the program rearms it, it is reported early.
// Edge-triggered items report once more if they are ready. dump runs in the engine, open and
// connect in the child.
#include <fcntl.h>
#include <linux/kcmp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <map>

#include "engine/base/undo.h"
#include "engine/resources/fdinfo.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/file_table.h"

namespace ncr::epoll {
namespace {

bool recognises(const FdProbe& probe) { return probe.link == "anon_inode:[eventpoll]"; }

// The holder of the epoll descriptor that an item is looked up through, and the item.
struct Item {
  pid_t pid;
  kcmp_epoll_slot slot;
};

Result<bool> is_target(const Item& item, pid_t pid, int number) {
  Result<int> order = sys::kcmp(pid, item.pid, KCMP_EPOLL_TFD, static_cast<unsigned long>(number),
                                reinterpret_cast<unsigned long>(&item.slot));
  if (order.ok()) return order.value() == 0;
  if (order.error().os_error() == EBADF) return false;
  return order.take_error();
}

// A descriptor of the task itself, under whatever number; 0 if none.
Result<uint32_t> find_in_task(FileTable& files, const Task& task, const Item& item) {
  int registered = static_cast<int>(item.slot.tfd);
  if (TRY(is_target(item, task.pid, registered))) return files.id_of(task, FdNumber{registered});
  for (int number : TRY(sys::numbered_entries(task.proc, "fd")))
    if (TRY(is_target(item, task.pid, number))) return files.id_of(task, FdNumber{number});
  return uint32_t{0};
}

Result<uint32_t> find_target(FileTable& files, const FdProbe& probe, const Item& item,
                             const EpollTarget& target) {
  uint32_t id = 0;
  if (probe.task != nullptr) id = TRY(find_in_task(files, *probe.task, item));
  if (id != 0) return id;
  return files.find(target.device, target.inode,
                    [&item](pid_t pid, int number) { return is_target(item, pid, number); });
}

Result<> dump(FileTable& files, const FdProbe& probe, schema::OpenFile* record) {
  std::vector<EpollTarget> targets = TRY(parse_epoll(probe.fdinfo));
  std::map<int, uint32_t> seen;  // items with the same number come in the order of fdinfo
  for (const EpollTarget& target : targets) {
    Item item{};
    item.pid = probe.task != nullptr ? probe.task->pid : ::getpid();
    item.slot.efd =
        static_cast<uint32_t>(probe.task != nullptr ? raw(probe.number) : probe.local.get());
    item.slot.tfd = static_cast<uint32_t>(target.number);
    item.slot.toff = seen[target.number]++;
    uint32_t id = TRY_WHILE(find_target(files, probe, item, target), "target fd %d", target.number);
    if (id == 0)
      return Error::unsupported(
          strf("it watches a file that was registered as fd %d and that this task has closed; "
               "remove it with EPOLL_CTL_DEL before closing it",
               target.number));
    schema::EpollTarget* entry = record->mutable_epoll()->add_targets();
    entry->set_number(target.number);
    entry->set_file_id(id);
    entry->set_events(target.events);
    entry->set_data(target.data);
    record->add_depends_on(id);
  }
  record->mutable_epoll();
  return {};
}

Result<Fd> open(FileRestorer&, const schema::OpenFile&) {
  return Fd(TRY(SYSCALL(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")));
}

constexpr uint32_t kPrivateBits =
    static_cast<uint32_t>(EPOLLWAKEUP) | static_cast<uint32_t>(EPOLLONESHOT) |
    static_cast<uint32_t>(EPOLLET) | static_cast<uint32_t>(EPOLLEXCLUSIVE);

bool is_disarmed(const schema::EpollTarget& target) {
  return (target.events() & ~kPrivateBits) == 0;
}

// Adds the item under its own number, which may be one of ours meanwhile.
Result<> add_item(const Fd& epoll, const schema::EpollTarget& target, int service) {
  int number = target.number();
  epoll_event event{};
  event.events = target.events();
  event.data.u64 = target.data();
  if (number == service) {  // it stands at its own number already
    TRY(SYSCALL(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, number, &event), "EPOLL_CTL_ADD"));
    return {};
  }
  Result<int> flags = SYSCALL(::fcntl(number, F_GETFD), "F_GETFD");
  Fd ours;
  if (flags.ok()) ours = Fd(TRY(SYSCALL(::fcntl(number, F_DUPFD_CLOEXEC, 0), "F_DUPFD_CLOEXEC")));
  TRY(SYSCALL(::dup3(service, number, O_CLOEXEC), "dup3"));
  const int control = number == epoll.get() ? ours.get() : epoll.get();
  Result<int> added = SYSCALL(::epoll_ctl(control, EPOLL_CTL_ADD, number, &event), "EPOLL_CTL_ADD");
  if (ours.valid())
    TRY(SYSCALL(::dup3(ours.get(), number, (flags.value() & FD_CLOEXEC) != 0 ? O_CLOEXEC : 0),
                "dup3"));
  else
    Fd(number).close();
  TRY(std::move(added));
  return {};
}

// The disarmed ones first: what they report at once is taken away, which disarms them.
Result<> add_items(FileRestorer& files, const schema::OpenFile& record, const Fd& fd, bool late) {
  for (bool disarmed : {true, false}) {
    for (const schema::EpollTarget& target : record.epoll().targets()) {
      if (is_disarmed(target) != disarmed || files.is_late(target.file_id()) != late) continue;
      int service = TRY(files.opened(target.file_id()));
      TRY_WHILE(add_item(fd, target, service), "target fd %d", target.number());
      epoll_event event{};
      if (disarmed) TRY(SYSCALL(::epoll_wait(fd.get(), &event, 1, 0), "epoll_wait"));
    }
  }
  return {};
}

Result<> connect(FileRestorer& files, const schema::OpenFile& record, const Fd& fd) {
  return add_items(files, record, fd, false);
}

Result<> connect_late(FileRestorer& files, const schema::OpenFile& record, const Fd& fd) {
  return add_items(files, record, fd, true);
}

}  // namespace

extern const FdRoom kRoom = {.name = "epoll",
                             .kind = schema::OpenFile::kEpoll,
                             .recognises = recognises,
                             .dump = dump,
                             .open = open,
                             .connect = connect,
                             .connect_late = connect_late};

}  // namespace ncr::epoll
