// One request, whoever asked for it: its directories and log, the moments at which its caller is
// told, the engine's call, and the statistics it leaves.
#pragma once

#include <functional>
#include <string>

#include "frontends/criu/engine.h"
#include "frontends/criu/journal.h"
#include "frontends/criu/options.h"
#include "frontends/criu/places.h"
#include "frontends/criu/status.h"

namespace criu {

// Tells an RPC client, and waits for its answer; may be empty.
using Notifier = std::function<Status(const ncr_hook&)>;

class Work {
 public:
  Work(Engine& engine, Options options, Notifier notifier);
  Work(const Work&) = delete;

  // Before everything else.
  Status open();
  Status dump();
  Status predump();
  Status restore(pid_t* root);
  // `listening` is a socket that somebody will connect to, or -1: made from address and port.
  Status page_server(int listening);
  Status lazy_pages();
  Status dedup();

  const Options& options() const { return options_; }
  const Places& places() const { return places_; }
  const Journal& journal() const { return journal_; }

 private:
  static int on_hook(void* user, const ncr_hook* hook);
  static void on_log(void* user, ncr_log_level level, const char* line);
  Status tell(const ncr_hook& hook);
  Status finish(const char* what, const Answer& answer, pid_t missing);
  Status fail(Status status);
  Status run_dump(bool memory_only);
  Status open_page_socket(Descriptor* socket);
  Status connect_page_server(Descriptor* connection);
  void keep_stats(const char* file, const std::string& content, const std::string& text);

  Engine& engine_;
  Options options_;
  Notifier notifier_;
  Places places_;
  Journal journal_;
  ncr_callbacks callbacks_ = NCR_CALLBACKS_INIT;
};

// A listening socket at the address and port of the options; the port it got into `port`.
Status listen_for_pages(const Options& options, Descriptor* socket, int* port);

}  // namespace criu
