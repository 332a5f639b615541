#include "frontends/criu/engine.h"

namespace criu {
namespace {

Answer answer_of(const nativecr::Outcome& outcome) {
  return {outcome.status(), outcome.report(), outcome.error(), outcome.error_number()};
}

}  // namespace

Answer LibraryEngine::dump(const ncr_dump_options& options) {
  return answer_of(nativecr::dump(options));
}
Answer LibraryEngine::predump(const ncr_dump_options& options) {
  return answer_of(nativecr::predump(options));
}
Answer LibraryEngine::restore(const ncr_restore_options& options, pid_t* root_pid) {
  return answer_of(nativecr::restore(options, root_pid));
}
Answer LibraryEngine::check() { return answer_of(nativecr::check()); }
Answer LibraryEngine::page_server(const ncr_page_server_options& options) {
  return answer_of(nativecr::page_server(options));
}
Answer LibraryEngine::lazy_pages(const ncr_lazy_pages_options& options) {
  return answer_of(nativecr::lazy_pages(options));
}
Answer LibraryEngine::dedup(const std::string& images_dir) {
  return answer_of(nativecr::dedup(images_dir));
}

// A request that names nothing is wrong (usage), where it can be served at all.
bool LibraryEngine::can_predump() {
  const ncr_dump_options nothing = NCR_DUMP_OPTIONS_INIT;
  return nativecr::predump(nothing).status() == NCR_USAGE;
}
bool LibraryEngine::can_be_lazy() {
  const ncr_lazy_pages_options nothing = NCR_LAZY_PAGES_OPTIONS_INIT;
  return nativecr::lazy_pages(nothing).status() == NCR_USAGE;
}

}  // namespace criu
