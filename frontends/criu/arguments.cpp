// Arguments by getopt_long(3), which knows abbreviations, attached values and "--". Every flag can
// be taken back by "no-" before its name.
#include <getopt.h>

#include "frontends/criu/option_table.h"

namespace criu {
namespace {

constexpr int kFirst = 1000;   // + place in the table
constexpr int kNegated = 500;  // + place in the table; a letter is below

struct Tables {
  std::string letters = "-:";  // words come in their order; a missing value is told apart
  std::vector<std::string> negated_names;
  std::vector<option> longs;
};

Tables tables() {
  const std::span<const Option> known = option_table();
  Tables made;
  made.negated_names.reserve(known.size());
  for (size_t i = 0; i < known.size(); i++) {
    const int argument = known[i].takes == Takes::kFlag    ? no_argument
                         : known[i].takes == Takes::kValue ? required_argument
                                                           : optional_argument;
    made.longs.push_back({known[i].name, argument, nullptr, kFirst + static_cast<int>(i)});
    if (known[i].takes == Takes::kFlag) {
      made.negated_names.push_back(std::string("no-") + known[i].name);
      made.longs.push_back({made.negated_names.back().c_str(), no_argument, nullptr,
                            kNegated + static_cast<int>(i)});
    }
    if (known[i].letter == 0) continue;
    made.letters += known[i].letter;
    made.letters += argument == no_argument ? "" : argument == required_argument ? ":" : "::";
  }
  made.longs.push_back({});
  return made;
}

const Option* find_letter(int letter) {
  for (const Option& known : option_table())
    if (known.letter != 0 && known.letter == letter) return &known;
  return nullptr;
}

Status take(int found, Options& options) {
  const std::span<const Option> known = option_table();
  if (found >= kNegated && found < kFirst)
    return set_option(options, known[static_cast<size_t>(found - kNegated)].name, "0");
  const Option* option =
      found >= kFirst ? &known[static_cast<size_t>(found - kFirst)] : find_letter(found);
  const std::string value = optarg != nullptr ? optarg : option->takes == Takes::kFlag ? "1" : "";
  return set_option(options, option->name, value);
}

}  // namespace

Status parse_arguments(std::vector<std::string> arguments, Options& options,
                       std::vector<std::string>* words) {
  std::string name = "criu";
  std::vector<char*> argv = {name.data()};
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const int argc = static_cast<int>(argv.size()) - 1;
  const Tables made = tables();
  opterr = 0;
  optind = 0;  // begins anew (getopt(3), NOTES)
  for (;;) {
    const int at = optind == 0 ? 1 : optind;
    const int found =
        ::getopt_long(argc, argv.data(), made.letters.c_str(), made.longs.data(), nullptr);
    if (found == -1) break;
    if (found == 1) {
      words->push_back(optarg);
      continue;
    }
    if (found == ':')
      return Status::bad_option(std::string(argv[static_cast<size_t>(at)]) + " needs a value");
    if (found == '?')
      return Status::bad_option(std::string(argv[static_cast<size_t>(at)]) +
                                " is no option, or cannot have a value");
    Status taken = take(found, options);
    if (!taken.ok()) return taken;
  }
  for (int at = optind; at < argc; at++) words->push_back(argv[static_cast<size_t>(at)]);
  return {};
}

}  // namespace criu
