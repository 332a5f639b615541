// The nativecr command: a client of libnativecr. Exit status: 0 done, 1 the system failed, 2 usage,
// 3 unsupported, 4 damaged or foreign image, 5 the target went away. Called as criu, it is that.
#include <cstring>

#include "frontends/cli/command.h"
#include "frontends/criu/command_line.h"

namespace {

int parse_and_run(int argc, char** argv) {
  CLI::App app("Checkpoint and restore of Linux process trees", "nativecr");
  app.set_version_flag("-V,--version", std::string("nativecr ") + ncr_version());
  app.require_subcommand(1);
  const std::pair<const char*, cli::Run> commands[] = {
      {"dump", cli::add_dump(app)},
      {"restore", cli::add_restore(app)},
      {"check", cli::add_check(app)},
      {"inspect", cli::add_inspect(app)},
      {"verify", cli::add_verify(app)},
      {"pre-dump", cli::add_predump(app)},
      {"page-server", cli::add_page_server(app)},
      {"lazy-pages", cli::add_lazy_pages(app)},
      {"dedup", cli::add_dedup(app)},
  };
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : NCR_USAGE;
  }
  for (const auto& [name, run] : commands)
    if (app.got_subcommand(name)) return run();
  return NCR_USAGE;
}

bool is_criu(const char* name) {
  const char* slash = std::strrchr(name, '/');
  return std::strcmp(slash == nullptr ? name : slash + 1, "criu") == 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc > 0 && is_criu(argv[0])) {
      criu::LibraryEngine engine;
      return criu::run_command({argv + 1, argv + argc}, engine);
    }
    return parse_and_run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "nativecr: %s\n", error.what());
    return NCR_SYSTEM;
  }
}
