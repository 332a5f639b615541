// Page payload that travels: a server that takes the pages of a dump on another machine, and a dump
// that hands its pages to a lazy restore elsewhere.
#pragma once

#include <string>

#include "engine/base/sys.h"
#include "engine/request.h"

namespace ncr {

struct PageServerRequest {
  std::string images_dir;
  std::string address;  // numeric, IPv4 or IPv6; empty: every IPv4 address
  uint16_t port = 0;    // 0: any
  int socket = -1;      // connected or listening, in place of an address
  int status_fd = -1;   // gets one NUL once the server listens
  Callbacks callbacks;
};

struct PageServerReport {
  uint64_t bytes = 0;
};

// Serves one dump, and returns when its pages are on disk as pages-1.img. On failure there is no
// such file.
Result<PageServerReport> serve_pages(const PageServerRequest& request);

// A listening stream socket.
Result<Fd> listen_at(const std::string& address, uint16_t port);
// Says that somebody may connect now: one NUL.
Result<> say_ready(int status_fd);

struct ServedPages {
  const Fd& file;
  uint64_t size;         // bytes
  std::string uuid;      // of the image they belong to
  uint64_t fetched = 0;  // bytes that went out
};

// Serves lazy restores of one image until one of them has all it wants. `socket` listens or is
// connected.
Result<> serve_fetches(int socket, ServedPages* pages, const Callbacks& callbacks);

}  // namespace ncr
