// Multicast groups of a socket (engine and child). The kernel keeps a list per socket and never
// shows it, but it answers for one group at a time (MCAST_MSFILTER: EADDRNOTAVAIL if the socket is
// not in it), and /proc/PID/net/igmp and igmp6 name every group that somebody is in.
#include "engine/resources/inet_socket/inet_multicast.h"

#include <net/if.h>
#include <netinet/in.h>

#include <charconv>
#include <cstring>

#include "engine/resources/inet_socket/inet_address.h"

namespace ncr::inet_socket {
namespace {

constexpr size_t kMaxSources = 128;

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  size_t at = 0;
  while ((at = line.find_first_not_of(" \t", at)) != std::string_view::npos) {
    size_t end = std::min(line.find_first_of(" \t", at), line.size());
    words.push_back(line.substr(at, end - at));
    at = end;
  }
  return words;
}

template <class F>
void each_line(std::string_view text, F use) {
  while (!text.empty()) {
    size_t end = std::min(text.find('\n'), text.size());
    use(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

bool number(std::string_view word, int base, uint32_t* value) {
  auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), *value, base);
  return error == std::errc() && end == word.data() + word.size();
}

struct Filter {
  alignas(group_filter) char bytes[GROUP_FILTER_SIZE(kMaxSources)] = {};
  group_filter* get() { return reinterpret_cast<group_filter*>(bytes); }
  sockaddr_storage source(size_t index) const {
    sockaddr_storage value;
    memcpy(&value, bytes + GROUP_FILTER_SIZE(0) + index * sizeof value, sizeof value);
    return value;
  }
  void set_source(size_t index, const sockaddr_storage& value) {
    memcpy(bytes + GROUP_FILTER_SIZE(0) + index * sizeof value, &value, sizeof value);
  }
};

int level_of(const std::string& address) {
  return address.size() == sizeof(in_addr) ? IPPROTO_IP : IPPROTO_IPV6;
}

Result<> read_group(const Fd& socket, const HostGroup& group, schema::InetSocket* out) {
  Filter filter;
  filter.get()->gf_interface = group.interface;
  filter.get()->gf_group = storage_of(group.address);
  filter.get()->gf_numsrc = kMaxSources;
  socklen_t size = sizeof filter.bytes;
  Result<int> in = SYSCALL(
      ::getsockopt(socket.get(), level_of(group.address), MCAST_MSFILTER, filter.bytes, &size),
      "getsockopt MCAST_MSFILTER");
  if (!in.ok()) return {};  // not in this group
  schema::MulticastGroup* joined = out->add_groups();
  joined->set_interface(group.interface);
  char name[IF_NAMESIZE];
  if (::if_indextoname(group.interface, name) != nullptr) joined->set_interface_name(name);
  joined->set_address(group.address);
  joined->set_filter(filter.get()->gf_fmode);
  if (filter.get()->gf_numsrc > kMaxSources)
    return Error::unsupported("a multicast group with more than 128 sources");
  for (size_t i = 0; i < filter.get()->gf_numsrc; i++)
    joined->add_sources(bytes_of(filter.source(i)));
  return {};
}

Result<> join_group(const Fd& socket, const schema::MulticastGroup& group) {
  group_req request{};
  request.gr_interface = group.interface();
  unsigned by_name = ::if_nametoindex(group.interface_name().c_str());
  if (by_name != 0) request.gr_interface = by_name;
  request.gr_group = storage_of(group.address());
  int level = level_of(group.address());
  TRY(SYSCALL(::setsockopt(socket.get(), level, MCAST_JOIN_GROUP, &request, sizeof request),
              "join a multicast group on %s", group.interface_name().c_str()));
  if (group.filter() == MCAST_EXCLUDE && group.sources_size() == 0) return {};
  auto count = static_cast<size_t>(group.sources_size());
  if (count > kMaxSources) return Error::malformed("too many multicast sources");
  Filter filter;
  filter.get()->gf_interface = request.gr_interface;
  filter.get()->gf_group = request.gr_group;
  filter.get()->gf_fmode = group.filter();
  filter.get()->gf_numsrc = static_cast<uint32_t>(count);
  for (size_t i = 0; i < count; i++)
    filter.set_source(i, storage_of(group.sources(static_cast<int>(i))));
  TRY(SYSCALL(::setsockopt(socket.get(), level, MCAST_MSFILTER, filter.bytes,
                           static_cast<socklen_t>(GROUP_FILTER_SIZE(count))),
              "setsockopt MCAST_MSFILTER"));
  return {};
}

}  // namespace

// "2\teth0 : 1 V3" begins an interface, "\t\t\t\tFB0000E0 1 0:00000000 0" is a group on it: the
// four bytes as a number of this machine.
std::vector<HostGroup> parse_igmp(std::string_view text) {
  std::vector<HostGroup> groups;
  uint32_t interface = 0;
  each_line(text, [&](std::string_view line) {
    std::vector<std::string_view> words = words_of(line);
    if (words.empty()) return;
    if (line[0] != '\t') {
      if (!number(words[0], 10, &interface)) interface = 0;
      return;
    }
    uint32_t address = 0;
    if (interface != 0 && number(words[0], 16, &address))
      groups.push_back(
          {interface, std::string(reinterpret_cast<const char*>(&address), sizeof address)});
  });
  return groups;
}

// "2    eth0            ff020000000000000000000000000001     1 0000000C 0"
std::vector<HostGroup> parse_igmp6(std::string_view text) {
  std::vector<HostGroup> groups;
  each_line(text, [&](std::string_view line) {
    std::vector<std::string_view> words = words_of(line);
    HostGroup group;
    if (words.size() < 3 || words[2].size() != 32 || !number(words[0], 10, &group.interface))
      return;
    for (size_t i = 0; i < 32; i += 2) {
      uint32_t byte = 0;
      if (!number(words[2].substr(i, 2), 16, &byte)) return;
      group.address.push_back(static_cast<char>(byte));
    }
    groups.push_back(std::move(group));
  });
  return groups;
}

Result<> read_groups(const Fd& holder, const Fd& socket, schema::InetSocket* out) {
  if (Result<std::string> text = sys::read_file_at(holder, "net/igmp"); text.ok())
    for (const HostGroup& group : parse_igmp(text.value())) TRY(read_group(socket, group, out));
  if (out->family() != AF_INET6) return {};
  if (Result<std::string> text = sys::read_file_at(holder, "net/igmp6"); text.ok())
    for (const HostGroup& group : parse_igmp6(text.value())) TRY(read_group(socket, group, out));
  return {};
}

Result<> join_groups(const Fd& socket, const schema::InetSocket& record) {
  for (const schema::MulticastGroup& group : record.groups()) TRY(join_group(socket, group));
  return {};
}

}  // namespace ncr::inet_socket
