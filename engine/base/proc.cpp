// /proc/PID/stat is one line of space separated fields, except that the second is the command name
// in parentheses and may itself hold spaces, parentheses and newlines: the name ends at the LAST
// ')'. Fields are only ever added at the end. /proc/PID/status is "Name:\tvalue" lines; lines come
// and go with kernel versions and build options.
#include "engine/base/proc.h"

#include <charconv>

namespace ncr::proc {
namespace {

constexpr std::string_view kBlanks = " \t\n";

std::string_view next_word(std::string_view* rest) {
  size_t start = rest->find_first_not_of(kBlanks);
  if (start == std::string_view::npos) {
    *rest = {};
    return {};
  }
  rest->remove_prefix(start);
  size_t length = std::min(rest->find_first_of(kBlanks), rest->size());
  std::string_view word = rest->substr(0, length);
  rest->remove_prefix(length);
  return word;
}

template <class T>
bool parse_number(std::string_view word, T* value, int base = 10) {
  auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), *value, base);
  return error == std::errc() && end == word.data() + word.size() && !word.empty();
}

template <class T>
void parse_list(std::string_view value, std::vector<T>* list) {
  for (std::string_view word = next_word(&value); !word.empty(); word = next_word(&value)) {
    T number{};
    if (parse_number(word, &number)) list->push_back(number);
  }
}

void parse_four(std::string_view value, std::array<uint32_t, 4>* four) {
  for (uint32_t& number : *four) parse_number(next_word(&value), &number);
}

template <class T>
void number_field(std::string_view text, std::string_view name, T* value, int base = 10) {
  std::string_view found = field(text, name);
  parse_number(next_word(&found), value, base);
}

void parse_signals_and_capabilities(std::string_view text, Status* status) {
  number_field(text, "SigPnd", &status->pending, 16);
  number_field(text, "ShdPnd", &status->shared_pending, 16);
  number_field(text, "SigBlk", &status->blocked, 16);
  number_field(text, "SigIgn", &status->ignored, 16);
  number_field(text, "SigCgt", &status->caught, 16);
  number_field(text, "CapInh", &status->cap_inheritable, 16);
  number_field(text, "CapPrm", &status->cap_permitted, 16);
  number_field(text, "CapEff", &status->cap_effective, 16);
  number_field(text, "CapBnd", &status->cap_bounding, 16);
  number_field(text, "CapAmb", &status->cap_ambient, 16);
}

// Fields 4 and up, by number; those we do not keep are skipped.
bool store_stat_field(int number, std::string_view word, Stat* stat) {
  switch (number) {
    case 4:
      return parse_number(word, &stat->ppid);
    case 5:
      return parse_number(word, &stat->pgid);
    case 6:
      return parse_number(word, &stat->sid);
    case 7:
      return parse_number(word, &stat->tty);
    case 8:
      return parse_number(word, &stat->tty_pgid);
    case 9:
      return parse_number(word, &stat->flags);
    case 20:
      return parse_number(word, &stat->threads);
    case 22:
      return parse_number(word, &stat->start_time);
    case 26:
      return parse_number(word, &stat->start_code);
    case 27:
      return parse_number(word, &stat->end_code);
    case 28:
      return parse_number(word, &stat->start_stack);
    case 45:
      return parse_number(word, &stat->start_data);
    case 46:
      return parse_number(word, &stat->end_data);
    case 47:
      return parse_number(word, &stat->start_brk);
    case 48:
      return parse_number(word, &stat->arg_start);
    case 49:
      return parse_number(word, &stat->arg_end);
    case 50:
      return parse_number(word, &stat->env_start);
    case 51:
      return parse_number(word, &stat->env_end);
    case 52:
      return parse_number(word, &stat->exit_code);
    default:
      return true;
  }
}

}  // namespace

Result<Stat> parse_stat(std::string_view text) {
  Stat stat;
  size_t open = text.find('(');
  size_t close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open)
    return Error::malformed("stat of a process: no command name in parentheses");
  std::string_view head = text.substr(0, open);
  if (!parse_number(next_word(&head), &stat.pid))
    return Error::malformed("stat of a process: does not begin with a pid");
  stat.comm = text.substr(open + 1, close - open - 1);
  std::string_view rest = text.substr(close + 1);
  std::string_view state = next_word(&rest);
  if (state.size() != 1) return Error::malformed("stat of a process: no state after the name");
  stat.state = state[0];
  int number = 4;
  for (std::string_view word = next_word(&rest); !word.empty(); word = next_word(&rest), number++)
    if (!store_stat_field(number, word, &stat))
      return Error::malformed(
          strf("stat of process %d: field %d is not a number", stat.pid, number));
  if (number <= 22) return Error::malformed(strf("stat of process %d: ends early", stat.pid));
  return stat;
}

std::string_view field(std::string_view text, std::string_view name) {
  while (!text.empty()) {
    size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.size() > name.size() && line.starts_with(name) && line[name.size()] == ':') {
      line.remove_prefix(name.size() + 1);
      size_t start = line.find_first_not_of(kBlanks);
      return start == std::string_view::npos ? std::string_view() : line.substr(start);
    }
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return {};
}

Result<Status> parse_status(std::string_view text) {
  Status status;
  number_field(text, "Pid", &status.pid);
  if (status.pid == 0) return Error::malformed("status of a process: no Pid line");
  status.name = field(text, "Name");
  std::string_view state = field(text, "State");
  if (!state.empty()) status.state = state[0];
  number_field(text, "Umask", &status.umask, 8);
  number_field(text, "Tgid", &status.tgid);
  number_field(text, "PPid", &status.ppid);
  number_field(text, "TracerPid", &status.tracer_pid);
  parse_four(field(text, "Uid"), &status.uids);
  parse_four(field(text, "Gid"), &status.gids);
  parse_list(field(text, "Groups"), &status.groups);
  parse_list(field(text, "NSpid"), &status.ns_pids);
  parse_list(field(text, "NSpgid"), &status.ns_pgids);
  parse_list(field(text, "NSsid"), &status.ns_sids);
  number_field(text, "Threads", &status.threads);
  parse_signals_and_capabilities(text, &status);
  int no_new_privs = 0;
  number_field(text, "NoNewPrivs", &no_new_privs);
  status.no_new_privs = no_new_privs != 0;
  number_field(text, "Seccomp", &status.seccomp);
  number_field(text, "Seccomp_filters", &status.seccomp_filters);
  return status;
}

}  // namespace ncr::proc
