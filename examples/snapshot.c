/* Takes a snapshot of a running process tree without stopping it for longer than a moment, and prints the report.
 *   snapshot PID DIR
 */
#include <nativecr/nativecr.h>
#include <stdio.h>
#include <stdlib.h>

static void show_progress(void* user, const char* phase, uint64_t done, uint64_t total) {
  (void)user;
  fprintf(stderr, "%s %llu/%llu\n", phase, (unsigned long long)done, (unsigned long long)total);
}

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: snapshot PID DIR\n");
    return NCR_USAGE;
  }
  ncr_callbacks callbacks = NCR_CALLBACKS_INIT;
  callbacks.progress = show_progress;

  ncr_dump_options options = NCR_DUMP_OPTIONS_INIT;
  options.pid = (pid_t)atoi(argv[1]);
  options.images_dir = argv[2];
  options.final_state = NCR_LEAVE_RUNNING;
  options.callbacks = &callbacks;

  char* report = NULL;
  ncr_error* error = NULL;
  ncr_status status = ncr_dump(&options, &report, &error);
  if (status != NCR_OK) {
    fprintf(stderr, "snapshot: %s\n", ncr_error_text(error));
    ncr_error_free(error);
    return status;
  }
  puts(report);
  ncr_string_free(report);
  return 0;
}
