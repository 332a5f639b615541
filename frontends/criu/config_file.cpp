#include "frontends/criu/config_file.h"

#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>

#include "frontends/criu/option_table.h"

namespace criu {
namespace {

constexpr size_t kMostBytes = 1 << 20;

// The words of a line, without quotes and comment; nothing if a quote is not closed.
std::optional<std::vector<std::string>> words_of(const std::string& line) {
  std::vector<std::string> words;
  bool in_word = false;
  bool quoted = false;
  for (const char c : line) {
    if (c == '"') {
      quoted = !quoted;
      if (!in_word) words.emplace_back();
      in_word = true;
    } else if (!quoted && c == '#') {
      break;
    } else if (!quoted && (c == ' ' || c == '\t' || c == '\r')) {
      in_word = false;
    } else {
      if (!in_word) words.emplace_back();
      in_word = true;
      words.back() += c;
    }
  }
  if (quoted) return std::nullopt;
  return words;
}

// "a = b" is written by people who know other files.
void join_equals(std::vector<std::string>& words) {
  if (words.size() == 3 && words[1] == "=") words.erase(words.begin() + 1);
  if (words.size() == 2 && !words[0].empty() && words[0].back() == '=') words[0].pop_back();
  if (words.size() == 2 && words[1].rfind('=', 0) == 0) words[1].erase(0, 1);
}

}  // namespace

Status parse_config(const std::string& text, std::vector<std::string>* arguments) {
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); number++) {
    const std::string where = "line " + std::to_string(number) + ": ";
    if (line.find('\0') != std::string::npos)
      return Status::bad_option(where + "there is a NUL byte in it");
    std::optional<std::vector<std::string>> words = words_of(line);
    if (!words) return Status::bad_option(where + "a double quote is not closed");
    if (words->empty()) continue;
    join_equals(*words);
    if ((*words)[0].empty() || (*words)[0][0] == '-' || (*words)[0][0] == '=')
      return Status::bad_option(where + "an option is named without dashes");
    if (words->size() > 2)
      return Status::bad_option(where + "an option has one value; put it in double quotes");
    arguments->push_back("--" + (*words)[0] + (words->size() == 2 ? "=" + (*words)[1] : ""));
  }
  return {};
}

Status apply_config_file(const std::string& path, IfMissing if_missing, Options& options) {
  errno = 0;
  std::ifstream file(path);
  if (!file) {
    const bool missing = errno == ENOENT || errno == ENOTDIR;
    if (missing && if_missing == IfMissing::kIgnore) return {};
    return Status::system("configuration file " + path, errno);
  }
  std::string text(kMostBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMostBytes)
    return Status::bad_option("configuration file " + path + " is too large");
  std::vector<std::string> arguments;
  std::vector<std::string> words;
  Status read = parse_config(text, &arguments);
  if (read.ok()) read = parse_arguments(std::move(arguments), options, &words);
  if (!read.ok()) read.error = "configuration file " + path + ": " + read.error;
  return read;
}

Status apply_default_config(bool fixed_places, Options& options) {
  Status status;
  const char* home = std::getenv("HOME");
  const char* named = std::getenv("CRIU_CONFIG_FILE");
  if (fixed_places)
    status = apply_config_file("/etc/criu/default.conf", IfMissing::kIgnore, options);
  if (status.ok() && fixed_places && home != nullptr)
    status =
        apply_config_file(std::string(home) + "/.criu/default.conf", IfMissing::kIgnore, options);
  if (status.ok() && named != nullptr)
    status = apply_config_file(named, IfMissing::kIgnore, options);
  return status;
}

}  // namespace criu
