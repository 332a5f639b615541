// Rules that packets meet (engine, on a thread in the namespace; a process beside the coordinator;
// root task). Whether there are any the kernel says by netlink and in
// /proc/PID/net/*_tables_names; what they are and how they are written only nft(8) and
// iptables-save(8) know well, so those are run: in text they survive a change of kernel and of
// tools. A table with the name of our own locks is none of the namespace.
#include "engine/resources/net_namespace/firewall.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <algorithm>

#include "engine/resources/net_namespace/helper_program.h"

namespace ncr::net_namespace {
namespace {

constexpr std::string_view kLockPrefix = "nativecr_";
constexpr size_t kMostBytes = 64 << 20;

struct OldTables {
  const char* program;
  const char* names;  // of the tables in use; below /proc/thread-self/net
};
constexpr const char* kArptables = "arptables";
constexpr OldTables kOldTables[] = {{"iptables", "ip_tables_names"},
                                    {"ip6tables", "ip6_tables_names"},
                                    {kArptables, "arp_tables_names"}};

struct Table {
  uint8_t family;
  std::string name;
};

// No nf_tables in the kernel, or none to be asked about: no tables.
std::vector<Table> list_tables() {
  std::vector<Table> tables;
  Result<netlink::Socket> socket = netlink::Socket::open(NETLINK_NETFILTER);
  if (!socket.ok()) return tables;
  netlink::Request request((NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETTABLE, 0);
  Result<std::vector<netlink::Reply>> replies =
      socket.value().list(request.header(nfgenmsg{}), "nftables");
  if (!replies.ok()) return tables;
  for (const netlink::Reply& reply : replies.value()) {
    auto header = reply.header<nfgenmsg>();
    std::string name(
        netlink::Attributes::find(reply.attributes(sizeof header), NFTA_TABLE_NAME).text());
    if (!name.starts_with(kLockPrefix)) tables.push_back({header.nfgen_family, std::move(name)});
  }
  return tables;
}

Result<> dump_nftables(schema::NetNamespace* record, Refusals* refusals) {
  std::vector<Table> tables = list_tables();
  if (tables.empty()) return {};
  for (const Table& table : tables)
    if (nft_family(table.family) == nullptr || !plain_name(table.name))
      refusals->push_back({strf("nftables table %s", table.name.c_str()),
                           "nft(8) has no way to write its family or its name", ""});
  Result<std::string> listed = run_helper({"nft", "list", "ruleset"}, "");
  if (!listed.ok()) {
    refusals->push_back({"nftables rules", listed.error().text(), "install nft(8) (nftables)"});
    return {};
  }
  std::string rules = without_locks(listed.value());
  if (rules.find("xt match") != std::string::npos || rules.find("xt target") != std::string::npos)
    refusals->push_back({"nftables rules", "some were made by iptables and have no form in nft(8)",
                         "translate them (iptables-translate), or take them away"});
  record->set_nftables(std::move(rules));
  return {};
}

Result<std::string> save_tables(const char* program) {
  Result<std::string> saved = run_helper({strf("%s-legacy-save", program), "-c"}, "");
  if (saved.ok() || saved.error().code() != ErrorCode::kUnsupported) return saved;
  return run_helper({strf("%s-save", program), "-c"}, "");
}

// Their lock is the machine's; and a hook of the caller may have been here first.
std::vector<std::string> restore_command(const schema::NetTables& tables, const char* suffix) {
  std::vector<std::string> command = {tables.program() + suffix, "-c"};
  if (tables.program() != kArptables) command.insert(command.end(), {"-w", "-n"});
  return command;
}

Result<> restore_tables(const schema::NetTables& tables) {
  Result<std::string> done = run_helper(restore_command(tables, "-legacy-restore"), tables.rules());
  if (!done.ok() && done.error().code() == ErrorCode::kUnsupported)
    done = run_helper(restore_command(tables, "-restore"), tables.rules());
  if (!done.ok()) return done.take_error();
  return {};
}

// nft(8) begins a table at the start of a line.
bool has_table_of(const std::string& rules, const char* family) {
  const std::string head = strf("table %s ", family);
  return rules.starts_with(head) || rules.find("\n" + head) != std::string::npos;
}

// "include" would read a file of whoever restores.
bool includes_files(const std::string& rules) {
  for (size_t at = 0; at != std::string::npos && at < rules.size();) {
    size_t word = rules.find_first_not_of(" \t;", at);
    if (word != std::string::npos && rules.compare(word, 7, "include") == 0) return true;
    at = rules.find_first_of("\n;", at);
    if (at != std::string::npos) at++;
  }
  return false;
}

}  // namespace

const char* nft_family(uint8_t family) {
  switch (family) {
    case NFPROTO_INET:
      return "inet";
    case NFPROTO_IPV4:
      return "ip";
    case NFPROTO_ARP:
      return "arp";
    case NFPROTO_NETDEV:
      return "netdev";
    case NFPROTO_BRIDGE:
      return "bridge";
    case NFPROTO_IPV6:
      return "ip6";
    default:
      return nullptr;
  }
}

// It ends with a brace there.
std::string without_locks(const std::string& rules) {
  std::string kept;
  bool ours = false;
  for (size_t at = 0; at < rules.size();) {
    size_t end = std::min(rules.find('\n', at), rules.size() - 1) + 1;
    std::string line = rules.substr(at, end - at);
    if (line.starts_with("table "))
      ours = line.find(" " + std::string(kLockPrefix)) != std::string::npos;
    if (!ours) kept += line;
    if (line.starts_with("}")) ours = false;
    at = end;
  }
  return kept;
}

bool plain_name(std::string_view name) {
  return !name.empty() &&
         ((name[0] >= 'a' && name[0] <= 'z') || (name[0] >= 'A' && name[0] <= 'Z') ||
          name[0] == '_') &&
         name.find_first_not_of(
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./") ==
             std::string_view::npos;
}

Result<> dump_firewall(schema::NetNamespace* record, Refusals* refusals) {
  TRY(dump_nftables(record, refusals));
  for (const OldTables& old : kOldTables) {
    Result<std::string> names = sys::read_file(strf("/proc/thread-self/net/%s", old.names).c_str());
    if (!names.ok() || names.value().empty()) continue;
    Result<std::string> rules = save_tables(old.program);
    if (!rules.ok()) {
      refusals->push_back({strf("%s rules", old.program), rules.error().text(),
                           "install iptables(8), or flush the tables"});
      continue;
    }
    schema::NetTables* tables = record->add_tables();
    tables->set_program(old.program);
    tables->set_rules(rules.take());
  }
  return {};
}

Result<> check_firewall(const schema::NetNamespace& record) {
  if (record.nftables().size() > kMostBytes || includes_files(record.nftables()) ||
      record.nftables().find('\0') != std::string::npos)
    return Error::malformed("rules of nftables as no dump writes them");
  for (const schema::NetTables& tables : record.tables()) {
    bool known = false;
    for (const OldTables& old : kOldTables) known |= tables.program() == old.program;
    if (!known || tables.rules().size() > kMostBytes)
      return Error::malformed("rules of iptables as no dump writes them");
  }
  return {};
}

bool has_rules(const schema::NetNamespace& record) {
  return !record.nftables().empty() || record.tables_size() != 0;
}

// Rules of netdev see everything that comes by a link.
std::vector<uint8_t> families_of(const schema::NetNamespace& record) {
  std::vector<uint8_t> families = {NFPROTO_INET};
  const std::string& rules = record.nftables();
  const bool every = has_table_of(rules, "netdev");
  bool arp = every || has_table_of(rules, "arp");
  for (const schema::NetTables& tables : record.tables()) arp |= tables.program() == kArptables;
  if (arp) families.push_back(NFPROTO_ARP);
  if (every || has_table_of(rules, "bridge")) families.push_back(NFPROTO_BRIDGE);
  return families;
}

Result<> build_firewall(const schema::NetNamespace& record) {
  if (!record.nftables().empty()) {
    Result<std::string> done = run_helper({"nft", "-f", "-"}, record.nftables());
    if (!done.ok()) return done.take_error().while_doing("nftables rules");
  }
  for (const schema::NetTables& tables : record.tables())
    TRY_WHILE(restore_tables(tables), "%s rules", tables.program().c_str());
  return {};
}

}  // namespace ncr::net_namespace
