// Options as the library's structures, which borrow from them.
#pragma once

#include <vector>

#include "frontends/criu/options.h"

namespace criu {

class DumpCall {
 public:
  DumpCall(const Options& options, const std::string& images_dir, const ncr_callbacks& callbacks);
  DumpCall(const DumpCall&) = delete;
  ncr_dump_options& operator*() { return call_; }

 private:
  std::vector<ncr_external> externals_;
  ncr_dump_options call_ = NCR_DUMP_OPTIONS_INIT;
};

class RestoreCall {
 public:
  RestoreCall(const Options& options, const std::string& images_dir,
              const ncr_callbacks& callbacks);
  RestoreCall(const RestoreCall&) = delete;
  ncr_restore_options& operator*() { return call_; }

 private:
  std::vector<nativecr::External> located_;
  std::vector<ncr_external> externals_;
  std::vector<ncr_inherited_fd> inherited_;
  std::vector<ncr_joined_namespace> joined_;
  std::vector<ncr_cgroup_root> cgroup_roots_;
  ncr_restore_options call_ = NCR_RESTORE_OPTIONS_INIT;
};

}  // namespace criu
