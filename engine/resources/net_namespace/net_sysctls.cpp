// /proc/sys/net, which shows the network namespace of whoever looks (engine, on a thread in the
// namespace; root task). What is the machine's and no namespace's own cannot be written from a
// namespace, and is left out by that. What stands below "all" reaches into "default" and into the
// links when it is written, so it comes first.
#include "engine/resources/net_namespace/net_sysctls.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <functional>

namespace ncr::net_namespace {
namespace {

constexpr const char* kRoot = "/proc/sys/net";
constexpr const char* kFolders[] = {"ipv4/conf/all", "ipv4/conf/default",
                                    "ipv6/conf/all", "ipv6/conf/default",
                                    "ipv4",          "ipv4/route",
                                    "ipv6",          "ipv6/icmp",
                                    "ipv6/route",    "core",
                                    "unix",          "netfilter",
                                    "mptcp",         "bridge"};
constexpr size_t kMostBytes = 64 * 1024;
constexpr uint32_t kStableSecretModes = 2;  // IN6_ADDR_GEN_MODE_STABLE_PRIVACY and those after it

Result<std::vector<std::string>> files_of(const Fd& folder) {
  std::vector<std::string> names;
  alignas(dirent64) char buffer[16 * 1024];
  for (;;) {
    long size = TRY(
        SYSCALL(::syscall(SYS_getdents64, folder.get(), buffer, sizeof buffer), "list %s", kRoot));
    if (size == 0) return names;
    for (long at = 0; at < size;) {
      const auto* entry = reinterpret_cast<const dirent64*>(buffer + at);
      if (entry->d_type == DT_REG) names.emplace_back(entry->d_name);
      at += entry->d_reclen;
    }
  }
}

void strip_newline(std::string* value) {
  if (!value->empty() && value->back() == '\n') value->pop_back();
}

// Most values are short, and the kernel takes memory for all that is asked for.
Result<std::string> read_value(const Fd& file) {
  for (size_t room = 128;; room = kMostBytes) {
    std::string value(room, '\0');
    ssize_t size = TRY(SYSCALL(::pread(file.get(), value.data(), room, 0), "read a sysctl"));
    value.resize(static_cast<size_t>(size));
    strip_newline(&value);
    if (static_cast<size_t>(size) < room || room == kMostBytes) return value;
  }
}

// Not every value can be read (flush), and not every one has been set (stable_secret).
void add_value(const Fd& file, const std::string& name, Repeated<schema::NetSysctl>* sysctls) {
  Result<std::string> value = read_value(file);
  if (!value.ok()) return;
  schema::NetSysctl* sysctl = sysctls->Add();
  sysctl->set_name(name);
  sysctl->set_value(value.take());
}

// One that cannot be written cannot be opened either.
Result<> open_each(const std::function<void(std::string name, Fd file)>& take) {
  Fd root = TRY(sys::open(kRoot, O_PATH | O_DIRECTORY));
  for (const char* name : kFolders) {
    Result<Fd> folder = sys::open_at(root, name, O_RDONLY | O_DIRECTORY);
    if (!folder.ok()) continue;  // the kernel has no such protocol
    std::vector<std::string> files = TRY(files_of(folder.value()));
    for (const std::string& entry : files) {
      Result<Fd> file = sys::open_at(folder.value(), entry.c_str(), O_RDWR);
      if (file.ok())
        take(std::string(name) + "/" + entry, file.take());
      else if (file.error().os_error() == EMFILE || file.error().os_error() == ENFILE)
        return file.take_error();
    }
  }
  return {};
}

Result<bool> differs(const Fd& root, const schema::NetSysctl& sysctl) {
  Result<Fd> file = sys::open_at(root, sysctl.name().c_str(), O_RDONLY);
  if (!file.ok() && file.error().os_error() == ENOENT) return false;  // of another kernel
  if (!file.ok()) return file.take_error();
  Result<std::string> value = read_value(file.value());
  return !value.ok() || value.value() != sysctl.value();
}

Result<> write_one(const Fd& root, const schema::NetSysctl& sysctl) {
  std::string text = sysctl.value() + '\n';
  auto name = [&] { return strf("%s/%s", kRoot, sysctl.name().c_str()); };
  Fd file = TRY_WHILE(sys::open_at(root, sysctl.name().c_str(), O_WRONLY), "%s", name().c_str());
  TRY_WHILE(sys::write_all(file, text.data(), text.size()), "%s to \"%s\"", name().c_str(),
            sysctl.value().c_str());
  return {};
}

// Whoever begins or ends to forward gets other values for redirects: those come after it.
bool is_forwarding(const std::string& name) {
  return name.ends_with("/forwarding") || name.ends_with("/ip_forward");
}

bool is_below_a_folder(const std::string& name) {
  return std::any_of(std::begin(kFolders), std::end(kFolders), [&](const char* folder) {
    return name.starts_with(std::string(folder) + "/");
  });
}

}  // namespace

Result<std::vector<OpenSysctl>> open_sysctls() {
  std::vector<OpenSysctl> opened;
  TRY(open_each([&](std::string name, Fd file) {
    opened.push_back({std::move(name), std::move(file)});
  }));
  return opened;
}

void read_sysctls(const std::vector<OpenSysctl>& opened, Repeated<schema::NetSysctl>* sysctls) {
  for (const OpenSysctl& sysctl : opened) add_value(sysctl.file, sysctl.name, sysctls);
}

Result<> read_sysctls(Repeated<schema::NetSysctl>* sysctls) {
  return open_each(
      [&](const std::string& name, const Fd& file) { add_value(file, name, sysctls); });
}

Result<> read_secrets(const Repeated<schema::NetLink>& links,
                      Repeated<schema::NetSysctl>* sysctls) {
  Fd root = TRY(sys::open(kRoot, O_PATH | O_DIRECTORY));
  for (const schema::NetLink& link : links) {
    if (link.address_mode6() < kStableSecretModes) continue;
    std::string path = "ipv6/conf/" + link.name() + "/stable_secret";
    Result<Fd> file = sys::open_at(root, path.c_str(), O_RDWR);
    if (file.ok()) add_value(file.value(), path, sysctls);
  }
  return {};
}

Result<> check_sysctls(const Repeated<schema::NetSysctl>& sysctls) {
  for (const schema::NetSysctl& sysctl : sysctls) {
    const std::string& name = sysctl.name();
    bool good = is_below_a_folder(name) ||
                (name.starts_with("ipv6/conf/") && name.ends_with("/stable_secret"));
    if (!good || name.find('\0') != std::string::npos || name.find("..") != std::string::npos ||
        name.size() > 200 || sysctl.value().size() > kMostBytes)
      return Error::malformed(strf("\"%s\" is no sysctl of a network namespace", name.c_str()));
  }
  return {};
}

// A few values bound each other (the range of local ports, the first port of everybody): what is
// refused at first is tried again when the others are there.
Result<> write_sysctls(const Repeated<schema::NetSysctl>& sysctls) {
  Fd root = TRY(sys::open(kRoot, O_PATH | O_DIRECTORY));
  std::vector<const schema::NetSysctl*> refused;
  for (bool forwarding : {true, false})
    for (const schema::NetSysctl& sysctl : sysctls) {
      if (is_forwarding(sysctl.name()) != forwarding || !TRY(differs(root, sysctl))) continue;
      if (!write_one(root, sysctl).ok()) refused.push_back(&sysctl);
    }
  for (const schema::NetSysctl* sysctl : refused)
    if (TRY(differs(root, *sysctl))) TRY(write_one(root, *sysctl));
  return {};
}

}  // namespace ncr::net_namespace
