// The engine as the personality uses it: libnativecr, or what a test puts in its place.
#pragma once

#include <nativecr/nativecr.hpp>
#include <string>

namespace criu {

struct Answer {
  ncr_status status = NCR_OK;
  std::string report;  // JSON
  std::string error;
  int os_error = 0;
};

class Engine {
 public:
  virtual ~Engine() = default;
  virtual Answer dump(const ncr_dump_options& options) = 0;
  virtual Answer predump(const ncr_dump_options& options) = 0;
  virtual Answer restore(const ncr_restore_options& options, pid_t* root_pid) = 0;
  virtual Answer check() = 0;
  virtual Answer page_server(const ncr_page_server_options& options) = 0;
  virtual Answer lazy_pages(const ncr_lazy_pages_options& options) = 0;
  virtual Answer dedup(const std::string& images_dir) = 0;
  // Whether there is such a thing as a pre-dump, or a restore before the memory is there.
  virtual bool can_predump() = 0;
  virtual bool can_be_lazy() = 0;
};

class LibraryEngine final : public Engine {
 public:
  Answer dump(const ncr_dump_options& options) override;
  Answer predump(const ncr_dump_options& options) override;
  Answer restore(const ncr_restore_options& options, pid_t* root_pid) override;
  Answer check() override;
  Answer page_server(const ncr_page_server_options& options) override;
  Answer lazy_pages(const ncr_lazy_pages_options& options) override;
  Answer dedup(const std::string& images_dir) override;
  bool can_predump() override;
  bool can_be_lazy() override;
};

}  // namespace criu
