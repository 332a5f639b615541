/* libnativecr: checkpoint and restore of Linux process trees, in process.
 *
 * Every call is synchronous and re-entrant: it runs on the calling thread (which is the ptrace
 * tracer for its duration), keeps no global state, and leaves the signal handlers, working
 * directory, umask and standard descriptors of its host as they are. Two calls may run at the same
 * time in two threads.
 *
 * Structures start with their own size, so that a program built against an older header keeps
 * working: set it with the NCR_..._INIT macros. Strings are NUL-terminated; NULL means "not set".
 */
#ifndef NATIVECR_H
#define NATIVECR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#if defined(__GNUC__)
#define NCR_EXPORT __attribute__((visibility("default")))
#else
#define NCR_EXPORT
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What a call answers; also the exit status of the nativecr command. */
typedef enum ncr_status {
  NCR_OK = 0,
  NCR_SYSTEM = 1,      /* the kernel or the machine refused */
  NCR_USAGE = 2,       /* the request contradicts itself */
  NCR_UNSUPPORTED = 3, /* a kernel object, or a kernel, that is named and not handled */
  NCR_MALFORMED = 4,   /* a damaged or foreign image */
  NCR_GONE = 5,        /* the target went away */
  NCR_CANCELLED = 6    /* the cancel callback said so */
} ncr_status;

/* Why a call failed. Free with ncr_error_free(). */
typedef struct ncr_error ncr_error;
NCR_EXPORT ncr_status ncr_error_status(const ncr_error* error);
/* A sentence (NCR_UNSUPPORTED: a line per blocker). Lives as long as the error. */
NCR_EXPORT const char* ncr_error_text(const ncr_error* error);
NCR_EXPORT int ncr_error_errno(
    const ncr_error* error); /* of the failed system call, 0 if there was none */
NCR_EXPORT void ncr_error_free(ncr_error* error); /* NULL is fine */

typedef enum ncr_log_level {
  NCR_LOG_ERROR,
  NCR_LOG_WARNING,
  NCR_LOG_INFO,
  NCR_LOG_DEBUG
} ncr_log_level;

/* How a caller follows and stops the work. Called on the thread that made the call; any may be
 * NULL. */
typedef struct ncr_callbacks {
  size_t size;
  void* user;
  /* done and total in objects or bytes, total 0 if unknown */
  void (*progress)(void* user, const char* phase, uint64_t done, uint64_t total);
  /* nonzero ends the call with NCR_CANCELLED; the target runs on as it was */
  int (*cancelled)(void* user);
  void (*log)(void* user, ncr_log_level level, const char* line);
  ncr_log_level log_level;
} ncr_callbacks;
#define NCR_CALLBACKS_INIT \
  { sizeof(ncr_callbacks), NULL, NULL, NULL, NULL, NCR_LOG_WARNING }

typedef enum ncr_final_state { NCR_KILL, NCR_LEAVE_RUNNING, NCR_LEAVE_STOPPED } ncr_final_state;

typedef struct ncr_dump_options {
  size_t size;
  pid_t pid;              /* root of the tree, in the caller's pid namespace */
  const char* images_dir; /* made if missing, mode 0700; must not hold an image */
  ncr_final_state final_state;
  int shell_job;             /* nonzero: the session leader or terminal may lie outside the tree */
  const char* freeze_cgroup; /* absolute path of a cgroup directory (v1 freezer or v2), or NULL */
  uint32_t freeze_timeout_ms;
  unsigned threads;       /* that copy pages; 0: as many as CPUs, 4 at most */
  const char* trace_file; /* Chrome trace of the phases, or NULL */
  const ncr_callbacks* callbacks;
} ncr_dump_options;
#define NCR_DUMP_OPTIONS_INIT \
  { sizeof(ncr_dump_options), 0, NULL, NCR_KILL, 0, NULL, 10000, 0, NULL, NULL }

typedef struct ncr_restore_options {
  size_t size;
  const char* images_dir;
  int shell_job;
  int leave_stopped; /* nonzero: every task is left stopped (SIGSTOP) */
  int sibling;       /* nonzero: the root becomes a child of the caller's parent */
  unsigned threads;
  const char* trace_file;
  const ncr_callbacks* callbacks;
} ncr_restore_options;
#define NCR_RESTORE_OPTIONS_INIT \
  { sizeof(ncr_restore_options), NULL, 0, 0, 0, 0, NULL, NULL }

/* Every call below: *report gets a JSON object (free with ncr_string_free), *error the reason of a
 * failure; either may be NULL. */

/* Dumps the tree of options->pid. JSON: tasks, threads, frozen_ns, total_ns, image_bytes, pages
 * {scanned, written, zero, shared}, phases. */
NCR_EXPORT ncr_status ncr_dump(const ncr_dump_options* options, char** report, ncr_error** error);

/* Restores an image; *root_pid is a child of the caller, which must wait for it. JSON: root_pid,
 * tasks, threads, total_ns, pages_restored, phases. */
NCR_EXPORT ncr_status ncr_restore(const ncr_restore_options* options, pid_t* root_pid,
                                  char** report, ncr_error** error);

/* What this kernel offers and what is lost without it; with pid != 0 also every blocker of that
 * tree. NCR_UNSUPPORTED (with a report) if anything blocks. JSON: features [{name, present, need,
 * lost}], blockers [{pid, comm, object, reason, way_out}]. */
NCR_EXPORT ncr_status ncr_check(pid_t pid, char** report, ncr_error** error);

/* What is in an image. JSON: inventory, tasks [{pid, ppid, comm, command_line, threads, maps,
 * descriptors ...}]. */
NCR_EXPORT ncr_status ncr_inspect(const char* images_dir, char** report, ncr_error** error);

/* Reads every byte of an image and checks it, also against this machine's CPU. JSON: files, bytes,
 * tasks. */
NCR_EXPORT ncr_status ncr_verify(const char* images_dir, char** report, ncr_error** error);

NCR_EXPORT void ncr_string_free(char* string); /* NULL is fine */
NCR_EXPORT const char* ncr_version(void);      /* "0.1.0" */

#ifdef __cplusplus
}
#endif
#endif
