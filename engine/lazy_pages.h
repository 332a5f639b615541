// The daemon of a lazy restore: it gives a tree that runs already its memory.
#pragma once

#include <string>

#include "engine/memory/pager.h"
#include "engine/request.h"

namespace ncr {

inline constexpr char kLazyPagesSocket[] = "lazy-pages.socket";

struct LazyPagesRequest {
  std::string images_dir;
  std::string socket_path;  // empty: kLazyPagesSocket in images_dir
  int page_server = -1;     // connected to the dump that has the pages; -1: they are in the image
  int status_fd = -1;       // gets one NUL once the daemon listens
  Callbacks callbacks;
};

// Serves one restored tree and returns when it has all of its pages.
Result<PagerReport> serve_lazy_pages(const LazyPagesRequest& request);

}  // namespace ncr
