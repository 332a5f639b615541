// The C face of the engine: options in, status, JSON report and error out. Runs on the caller's
// thread.
#include <cstdlib>
#include <cstring>

#include "engine/base/ids.h"
#include "engine/c_request.h"
#include "engine/dedup.h"
#include "engine/image/cpu.h"
#include "engine/image/image_reader.h"
#include "engine/report/json.h"
#include "engine/report/kernel_features.h"
#include "engine/request.h"
#include "nativecr/nativecr.h"

struct ncr_error {
  ncr_status status;
  int os_error;
  std::string text;
};

namespace ncr {
namespace {

ncr_status status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUsage:
      return NCR_USAGE;
    case ErrorCode::kUnsupported:
      return NCR_UNSUPPORTED;
    case ErrorCode::kMalformed:
      return NCR_MALFORMED;
    case ErrorCode::kGone:
      return NCR_GONE;
    case ErrorCode::kCancelled:
      return NCR_CANCELLED;
    case ErrorCode::kSystem:
      break;
  }
  return NCR_SYSTEM;
}

ncr_status fail(const Error& error, ncr_error** out) {
  ncr_status status = status_of(error.code());
  if (out != nullptr) *out = new ncr_error{status, error.os_error(), error.text()};
  return status;
}

void put_report(const std::string& json, char** out) {
  if (out != nullptr) *out = ::strdup(json.c_str());
}

Result<> tell(const Callbacks& callbacks, const char* moment, pid_t pid) {
  if (callbacks.hook) TRY(callbacks.hook({moment, pid, -1}));
  return {};
}

Result<Image> open_and_check(const char* images_dir) {
  if (images_dir == nullptr) return Error::usage("no images directory was named");
  Image image = TRY(Image::open(images_dir, PageCheck::kVerify));
  schema::Cpu here = TRY(describe_this_cpu());
  TRY(check_cpu(image.inventory, here));
  return image;
}

}  // namespace
}  // namespace ncr

extern "C" {

ncr_status ncr_error_status(const ncr_error* error) { return error->status; }
const char* ncr_error_text(const ncr_error* error) { return error->text.c_str(); }
int ncr_error_errno(const ncr_error* error) { return error->os_error; }
void ncr_error_free(ncr_error* error) { delete error; }
void ncr_string_free(char* string) { std::free(string); }
const char* ncr_version(void) { return NCR_VERSION; }

ncr_status ncr_dump(const ncr_dump_options* options, char** report, ncr_error** error) {
  ncr::Result<ncr::DumpRequest> request = ncr::dump_request(options);
  if (!request.ok()) return ncr::fail(request.error(), error);
  ncr::Result<> ready = ncr::tell(request.value().callbacks, "pre-dump", request.value().pid);
  if (!ready.ok()) return ncr::fail(ready.error(), error);
  ncr::Result<ncr::DumpReport> done = ncr::dump(request.value());
  if (!done.ok()) return ncr::fail(done.error(), error);
  ncr::put_report(ncr::to_json(done.value()), report);
  return NCR_OK;
}

ncr_status ncr_restore(const ncr_restore_options* options, pid_t* root_pid, char** report,
                       ncr_error** error) {
  ncr::Result<ncr::RestoreRequest> request = ncr::restore_request(options);
  if (!request.ok()) return ncr::fail(request.error(), error);
  ncr::Result<> ready = ncr::tell(request.value().callbacks, "pre-restore", 0);
  if (!ready.ok()) return ncr::fail(ready.error(), error);
  ncr::Result<ncr::RestoreReport> done = ncr::restore(request.value());
  if (!done.ok()) return ncr::fail(done.error(), error);
  // The tree runs: there is nothing left to fail.
  (void)ncr::tell(request.value().callbacks, "post-resume", done.value().root_pid).ok();
  if (root_pid != nullptr) *root_pid = done.value().root_pid;
  ncr::put_report(ncr::to_json(done.value()), report);
  return NCR_OK;
}

ncr_status ncr_check(pid_t pid, char** report, ncr_error** error) {
  std::vector<ncr::KernelFeature> features = ncr::probe_kernel();
  std::vector<ncr::Blocker> blockers;
  if (pid != 0) {
    ncr::DumpRequest request;
    request.pid = pid;
    request.shell_job = ncr::ShellJob::kInheritTerminal;
    ncr::Result<std::vector<ncr::Blocker>> found = ncr::find_blockers(request);
    if (!found.ok()) return ncr::fail(found.error(), error);
    blockers = found.take();
  }
  ncr::put_report(ncr::check_json(features, blockers), report);
  for (const ncr::KernelFeature& feature : features)
    if (!feature.present && feature.need == ncr::Need::kRequired)
      return ncr::fail(
          ncr::Error::unsupported("this kernel lacks " + feature.name + ": " + feature.lost),
          error);
  if (!blockers.empty())
    return ncr::fail(
        ncr::Error::unsupported(ncr::strf("%zu objects block a dump", blockers.size())), error);
  return NCR_OK;
}

ncr_status ncr_inspect(const char* images_dir, char** report, ncr_error** error) {
  if (images_dir == nullptr)
    return ncr::fail(ncr::Error::usage("no images directory was named"), error);
  ncr::Result<ncr::Image> image = ncr::Image::open(images_dir, ncr::PageCheck::kSkip);
  if (!image.ok()) return ncr::fail(image.error(), error);
  ncr::put_report(ncr::describe_image_json(image.value()), report);
  return NCR_OK;
}

ncr_status ncr_verify(const char* images_dir, char** report, ncr_error** error) {
  ncr::Result<ncr::Image> image = ncr::open_and_check(images_dir);
  if (!image.ok()) return ncr::fail(image.error(), error);
  ncr::put_report(ncr::verify_json(image.value()), report);
  return NCR_OK;
}

ncr_status ncr_predump(const ncr_dump_options* options, char** report, ncr_error** error) {
  ncr::Result<ncr::DumpRequest> request = ncr::dump_request(options);
  if (!request.ok()) return ncr::fail(request.error(), error);
  ncr::Result<ncr::DumpReport> done = ncr::predump(request.value());
  if (!done.ok()) return ncr::fail(done.error(), error);
  ncr::put_report(ncr::to_json(done.value()), report);
  return NCR_OK;
}

ncr_status ncr_page_server(const ncr_page_server_options* options, char** report,
                           ncr_error** error) {
  ncr::Result<ncr::PageServerRequest> request = ncr::page_server_request(options);
  if (!request.ok()) return ncr::fail(request.error(), error);
  ncr::Result<ncr::PageServerReport> done = ncr::serve_pages(request.value());
  if (!done.ok()) return ncr::fail(done.error(), error);
  ncr::put_report(ncr::pages_json(done.value().bytes / ncr::kPageSize), report);
  return NCR_OK;
}

ncr_status ncr_lazy_pages(const ncr_lazy_pages_options* options, char** report, ncr_error** error) {
  ncr::Result<ncr::LazyPagesRequest> request = ncr::lazy_pages_request(options);
  if (!request.ok()) return ncr::fail(request.error(), error);
  ncr::Result<ncr::PagerReport> done = ncr::serve_lazy_pages(request.value());
  if (!done.ok()) return ncr::fail(done.error(), error);
  ncr::put_report(ncr::to_json(done.value()), report);
  return NCR_OK;
}

ncr_status ncr_dedup(const char* images_dir, char** report, ncr_error** error) {
  if (images_dir == nullptr)
    return ncr::fail(ncr::Error::usage("no images directory was named"), error);
  ncr::Result<ncr::DedupReport> done = ncr::dedup(images_dir);
  if (!done.ok()) return ncr::fail(done.error(), error);
  ncr::put_report(ncr::pages_json(done.value().pages), report);
  return NCR_OK;
}

}  // extern "C"
