// Sockets that pages travel through, as the command line names them.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

namespace cli {

struct PageServerAddress {
  std::string address;
  uint16_t port = 0;
  void add_to(CLI::App& app);
};

// A connected socket; on failure prints a sentence and returns -1.
int connect_to(const PageServerAddress& server);
// A listening socket, the same.
int listen_at(const PageServerAddress& server);

}  // namespace cli
