#include "frontends/criu/work.h"

#include <fcntl.h>

#include <cstdio>

#include "frontends/criu/action_script.h"
#include "frontends/criu/calls.h"
#include "frontends/criu/stats.h"
#include "frontends/descriptor_limit.h"

namespace criu {
namespace {

Status check_inherited(const Options& options) {
  for (const nativecr::InheritedFd& inherited : options.inherited)
    if (::fcntl(inherited.fd, F_GETFD) < 0)
      return Status::bad_option("inherit_fd " + inherited.key + ": descriptor " +
                                std::to_string(inherited.fd) + " is not open");
  return {};
}

// What this engine cannot do must not look done: pages that were to go elsewhere, or to come later.
Status check_memory_steps(const Options& options, Engine& engine) {
  if (options.lazy_pages && !engine.can_be_lazy())
    return Status::bad_option("lazy-pages is not built into this version");
  // track-mem alone asks for nothing that a whole image would lack.
  if ((options.page_server || !options.parent_images.empty()) && !engine.can_predump())
    return Status::bad_option("page-server and prev-images-dir are not built into this version");
  return {};
}

void write_nul(int fd) {
  const char nul = 0;
  if (::write(fd, &nul, 1) == 1) ::close(fd);
}

}  // namespace

Work::Work(Engine& engine, Options options, Notifier notifier)
    : engine_(engine), options_(std::move(options)), notifier_(std::move(notifier)) {
  callbacks_.user = this;
  callbacks_.log = &Work::on_log;
  // The engine asks nobody to take what nobody would.
  const bool heard = notifier_ || !options_.action_scripts.empty() || options_.status_fd >= 0;
  if (heard) callbacks_.hook = &Work::on_hook;
}

Status Work::open() {
  journal_.set_verbosity(options_.verbosity);
  Status opened = places_.open(options_);
  if (!opened.ok()) return opened;
  opened = journal_.open(places_.work(), options_.log_to_stderr ? "" : options_.log_file);
  if (!opened.ok()) return opened;
  callbacks_.log_level = journal_.engine_level();
  journal_.info("nativecr " NCR_VERSION ", as criu; images in " + places_.images_name());
  return {};
}

int Work::on_hook(void* user, const ncr_hook* hook) {
  return static_cast<Work*>(user)->tell(*hook).ok() ? 0 : 1;
}

void Work::on_log(void* user, ncr_log_level level, const char* line) {
  const auto* self = static_cast<Work*>(user);
  self->journal_.write(level, self->places_.named(line));
}

Status Work::tell(const ncr_hook& hook) {
  const std::string name = hook.name;
  journal_.info("at " + name + (hook.pid > 0 ? ", process " + std::to_string(hook.pid) : ""));
  if (name == "status-ready" && options_.status_fd >= 0) write_nul(options_.status_fd);
  for (const std::string& script : options_.action_scripts) {
    Status run = run_action_script(script, hook, places_.images_name());
    if (!run.ok()) return fail(std::move(run));
  }
  if (!notifier_) return {};
  Status told = notifier_(hook);
  return told.ok() ? told : fail(std::move(told));
}

Status Work::fail(Status status) {
  journal_.error(status.error);
  return status;
}

Status Work::finish(const char* what, const Answer& answer, pid_t missing) {
  if (answer.status == NCR_OK) {
    journal_.info(std::string(what) + " finished successfully");
    return {};
  }
  const std::string text = places_.named(answer.error);
  if (answer.status == NCR_USAGE) return fail(Status::bad_option(text));
  // A tree that was not there and one that went away are the same to a client.
  if (answer.status == NCR_GONE && missing > 0) return fail(Status::fail(text, ESRCH));
  return fail(Status::fail(text, answer.status == NCR_SYSTEM ? answer.os_error : 0));
}

void Work::keep_stats(const char* file, const std::string& content, const std::string& text) {
  const Status written = write_file_at(places_.work(), file, content);
  if (!written.ok()) journal_.write(NCR_LOG_WARNING, written.error);
  if (options_.display_stats) std::fputs(text.c_str(), stdout);
  if (options_.display_stats) std::fflush(stdout);
}

// A dump whose pages are fetched when somebody needs them is a page server itself.
Status Work::open_page_socket(Descriptor* socket) {
  if (!options_.lazy_pages || options_.page_server_fd >= 0)
    return options_.page_server ? connect_page_server(socket) : Status();
  if (options_.port == 0)
    return fail(Status::bad_option("lazy-pages: name the port at which pages can be fetched"));
  int port = 0;
  Status listens = listen_for_pages(options_, socket, &port);
  if (!listens.ok()) return fail(std::move(listens));
  journal_.info("pages can be fetched at port " + std::to_string(port));
  return {};
}

Status Work::run_dump(bool memory_only) {
  if (options_.tree <= 0)
    return fail(
        Status::bad_option("no process tree was named; the requesting process cannot be "
                           "dumped by itself"));
  Status ready = check_memory_steps(options_, engine_);
  if (!ready.ok()) return fail(std::move(ready));
  raise_descriptor_limit();
  Descriptor page_server;
  ready = open_page_socket(&page_server);
  if (!ready.ok()) return ready;
  // As callers are used to: a container that is dumped again is dumped into the same directory.
  OldImage before(places_.images());
  ready = before.put_aside();
  if (!ready.ok()) return fail(std::move(ready));
  DumpCall call(options_, places_.images_path(), callbacks_);
  (*call).page_server = page_server.get();
  const Answer answer = memory_only ? engine_.predump(*call) : engine_.dump(*call);
  if (answer.status == NCR_OK) before.drop();
  if (answer.status == NCR_OK)
    keep_stats(kDumpStatsFile, dump_stats(answer.report), describe_dump(answer.report));
  return finish(memory_only ? "Pre-dumping" : "Dumping", answer, options_.tree);
}

Status Work::dump() { return run_dump(false); }

Status Work::predump() { return run_dump(true); }

Status Work::restore(pid_t* root) {
  Status ready = check_inherited(options_);
  if (ready.ok()) ready = check_memory_steps(options_, engine_);
  if (!ready.ok()) return fail(std::move(ready));
  RestoreCall call(options_, places_.images_path(), callbacks_);
  const Answer answer = engine_.restore(*call, root);
  if (answer.status == NCR_OK)
    keep_stats(kRestoreStatsFile, restore_stats(answer.report), describe_restore(answer.report));
  return finish("Restoring", answer, 0);
}

Status Work::page_server(int listening) {
  ncr_page_server_options call = NCR_PAGE_SERVER_OPTIONS_INIT;
  call.images_dir = places_.images_path().c_str();
  call.address = options_.address.empty() ? nullptr : options_.address.c_str();
  call.port = static_cast<uint16_t>(options_.port);
  call.socket = listening;
  call.status_fd = options_.status_fd;
  call.callbacks = &callbacks_;
  return finish("Receiving pages", engine_.page_server(call), 0);
}

Status Work::lazy_pages() {
  Descriptor page_server;
  if (options_.page_server) {
    Status connected = connect_page_server(&page_server);
    if (!connected.ok()) return connected;
  }
  ncr_lazy_pages_options call = NCR_LAZY_PAGES_OPTIONS_INIT;
  call.images_dir = places_.images_path().c_str();
  call.page_server = page_server.get();
  call.status_fd = options_.status_fd;
  call.callbacks = &callbacks_;
  return finish("Serving pages", engine_.lazy_pages(call), 0);
}

Status Work::dedup() { return finish("Deduplication", engine_.dedup(places_.images_path()), 0); }

}  // namespace criu
