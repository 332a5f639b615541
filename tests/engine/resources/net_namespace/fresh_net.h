// A network namespace is set up by shell commands in a child, dumped, built again in a second fresh
// one, and dumped there: both dumps must be equal.
#pragma once

#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "engine/resources/net_namespace/net_content.h"
#include "tests/engine/resources/in_child.h"

namespace ncr::net_namespace {

inline int run(const std::string& command) {
  return std::system(("exec 2>&1; " + command).c_str());
}

// Addresses are usable at once, and not when nobody was found to have them.
constexpr const char* kQuick = "echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad; ";

// What passes by itself, or is told only of what the kernel did by chance.
inline void forget_times(schema::NetNamespace* record) {
  for (schema::NetObject& address : *record->mutable_addresses()) {
    drop(address.mutable_attributes(), 6);  // IFA_CACHEINFO
  }
  for (schema::NetObject& route : *record->mutable_routes())
    drop(route.mutable_attributes(), 23);  // RTA_EXPIRES
  for (schema::NetObject& connection : *record->mutable_connections())
    drop(connection.mutable_attributes(), 7);  // CTA_TIMEOUT
  for (schema::NetObject& settings : *record->mutable_neighbour_settings()) {
    const std::string* values = find(settings.attributes(), 6);  // NDTA_PARMS
    Repeated<schema::NetAttribute> kept;
    if (values != nullptr) {
      constexpr uint16_t kFixed[] = {1, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 19};
      keep(*values, kFixed, &kept);
    }
    netlink::Request request(0, 0);
    put(kept, request);
    set(settings.mutable_attributes(), 6, request.finish(0, 0));
  }
}

// The kernel lists what has no order in that of its making.
inline void sort(schema::NetNamespace* record) {
  auto by_bytes = [](auto* list) {
    std::sort(list->begin(), list->end(), [](const auto& a, const auto& b) {
      return a.SerializeAsString() < b.SerializeAsString();
    });
  };
  by_bytes(record->mutable_links());
  by_bytes(record->mutable_addresses());
  by_bytes(record->mutable_nexthops());
  by_bytes(record->mutable_routes());
  by_bytes(record->mutable_neighbours());
  by_bytes(record->mutable_neighbour_settings());
  by_bytes(record->mutable_connections());
  by_bytes(record->mutable_sets());
  for (schema::NetSet& set : *record->mutable_sets()) by_bytes(set.mutable_elements());
  by_bytes(record->mutable_disciplines());
  by_bytes(record->mutable_classes());
  by_bytes(record->mutable_bridge_groups());
}

inline std::string difference(const schema::NetNamespace& a, const schema::NetNamespace& b) {
  std::string text;
  auto compare = [&text](const char* what, const auto& first, const auto& second) {
    if (first.size() != second.size())
      text += strf("%d and %d %s\n", first.size(), second.size(), what);
    for (int i = 0; i < std::min(first.size(), second.size()); i++)
      if (first[i].SerializeAsString() != second[i].SerializeAsString()) {
        text += strf("%s %d differs:\n", what, i);
        for (const auto* one : {&first[i], &second[i]}) {
          for (char byte : one->SerializeAsString())
            text += byte >= ' ' && byte < 127 ? std::string(1, byte)
                                              : strf("\\%02x", static_cast<uint8_t>(byte));
          text += "\n";
        }
      }
  };
  compare("links", a.links(), b.links());
  compare("addresses", a.addresses(), b.addresses());
  compare("nexthops", a.nexthops(), b.nexthops());
  compare("routes", a.routes(), b.routes());
  compare("rules", a.rules(), b.rules());
  compare("neighbours", a.neighbours(), b.neighbours());
  compare("settings", a.neighbour_settings(), b.neighbour_settings());
  compare("sysctls", a.sysctls(), b.sysctls());
  compare("tables", a.tables(), b.tables());
  compare("connections", a.connections(), b.connections());
  compare("sets", a.sets(), b.sets());
  compare("disciplines", a.disciplines(), b.disciplines());
  compare("classes", a.classes(), b.classes());
  compare("groups of bridges", a.bridge_groups(), b.bridge_groups());
  if (a.nftables() != b.nftables()) text += a.nftables() + "---\n" + b.nftables();
  return text;
}

inline Result<schema::NetNamespace> dumped() {
  schema::NetNamespace record;
  Refusals refusals;
  TRY(dump_content({}, {}, {}, &record, &refusals));
  std::string text;
  for (const Refusal& refusal : refusals)
    text += refusal.object + ": " + refusal.reason + " (" + refusal.way_out + ")\n";
  if (!text.empty()) return Error::unsupported(text);
  return record;
}

// What a dump says of a namespace that it refuses; empty if it does not.
inline std::string refused(const std::string& set_up) {
  int pipe[2];
  if (::pipe(pipe) != 0) return "no pipe";
  testing::in_child([&] {
    if (::unshare(CLONE_NEWNET) != 0 || run(set_up) != 0) return 1;
    Result<schema::NetNamespace> dump = dumped();
    std::string text = dump.ok() ? "" : dump.error().text();
    return ::write(pipe[1], text.data(), text.size()) >= 0 ? 0 : 1;
  });
  ::close(pipe[1]);
  char text[4096];
  ssize_t size = ::read(pipe[0], text, sizeof text);
  ::close(pipe[0]);
  return {text, static_cast<size_t>(std::max<ssize_t>(size, 0))};
}

inline Result<> there_and_back(const std::string& set_up, const std::string& check) {
  TRY(SYSCALL(::unshare(CLONE_NEWNET), "unshare"));
  if (run(kQuick + set_up) != 0) return Error(ErrorCode::kSystem, "the commands failed");
  schema::NetNamespace first = TRY(dumped());
  TRY(SYSCALL(::unshare(CLONE_NEWNET), "unshare"));
  TRY(build_content(first));
  TRY(build_rules(first));
  schema::NetNamespace second = TRY(dumped());
  forget_times(&first);
  forget_times(&second);
  sort(&first);
  sort(&second);
  std::string text = difference(first, second);
  if (!text.empty()) return Error(ErrorCode::kSystem, text);
  if (!check.empty() && run(check) != 0) return Error(ErrorCode::kSystem, "the check failed");
  return {};
}

// 0: equal; else what went wrong is on stderr.
inline int round_trip(const std::string& set_up, const std::string& check = "") {
  return testing::in_child([&] {
    Result<> done = there_and_back(set_up, check);
    if (!done.ok()) fprintf(stderr, "%s\n", done.error().text().c_str());
    return done.ok() ? 0 : 1;
  });
}

// Whether this kernel has links of a kind.
inline bool offers(const std::string& command) {
  return testing::in_child([&] {
           if (::unshare(CLONE_NEWNET) != 0) return 1;
           return run(command + " >/dev/null") == 0 ? 0 : 1;
         }) == 0;
}

}  // namespace ncr::net_namespace
