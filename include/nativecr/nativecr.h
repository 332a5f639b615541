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

/* A moment at which a caller may act on the tree: bring network links into it, write its pid down.
 * Names are those of criu(8): "pre-dump", "post-dump", "network-lock", "network-unlock",
 * "setup-namespaces", "post-setup-namespaces", "pre-restore", "post-restore", "pre-resume",
 * "post-resume", "orphan-pts-master". More may follow: answer 0 to what you do not know. */
typedef struct ncr_hook {
  const char* name;
  pid_t pid; /* of the root, in the caller's pid namespace; 0 if there is none yet */
  int fd;    /* "orphan-pts-master": the terminal's other end, the engine's to close; else -1 */
} ncr_hook;

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
  /* nonzero fails the call. A restore whose root is no sibling calls it in a fork of the caller:
   * what it writes to memory is lost. */
  int (*hook)(void* user, const ncr_hook* hook);
} ncr_callbacks;
#define NCR_CALLBACKS_INIT \
  { sizeof(ncr_callbacks), NULL, NULL, NULL, NULL, NCR_LOG_WARNING, NULL }

typedef enum ncr_final_state { NCR_KILL, NCR_LEAVE_RUNNING, NCR_LEAVE_STOPPED } ncr_final_state;

/* Established TCP connections */
typedef enum ncr_tcp { NCR_TCP_REFUSE, NCR_TCP_KEEP, NCR_TCP_CLOSE } ncr_tcp;
/* How peers are kept from noticing that a tree with connections stands still */
typedef enum ncr_network_lock { NCR_LOCK_NFTABLES, NCR_LOCK_SKIP } ncr_network_lock;
/* criu(8), --manage-cgroups */
typedef enum ncr_cgroup_mode {
  NCR_CGROUP_IGNORE,
  NCR_CGROUP_NONE,
  NCR_CGROUP_PROPS,
  NCR_CGROUP_SOFT,
  NCR_CGROUP_FULL,
  NCR_CGROUP_STRICT
} ncr_cgroup_mode;

/* A thing outside the tree that it holds. */
typedef struct ncr_external {
  const char* kind;   /* "mnt", "net", "pid", "tty", "unix", "file", "dev", "veth", "macvlan" ... */
  const char* object; /* dump: its name in the tree, "/dev", "4026531840"; restore: the key */
  const char* value;  /* dump: the key that the image remembers; restore: what takes its place */
} ncr_external;

/* A descriptor of the caller that takes the place of one in the image. */
typedef struct ncr_inherited_fd {
  const char* key; /* "pipe:[1234]", "tty[8800:1]", the key of an external, a path */
  int fd;
} ncr_inherited_fd;

typedef struct ncr_joined_namespace {
  const char* kind; /* "net", "ipc" ..., as in /proc/PID/ns */
  const char* path; /* of a namespace file, or a pid */
} ncr_joined_namespace;

typedef struct ncr_cgroup_root {
  const char* controllers; /* comma separated; NULL or "" for v2, and for all that are not named */
  const char* path;        /* where the tree's root cgroup is to be */
} ncr_cgroup_root;

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
  const char* root; /* of the tree's mount namespace, as the caller sees it, or NULL */
  const ncr_external* externals;
  size_t n_externals;
  int external_mounts_auto;  /* nonzero: mounts whose source is outside the tree are external */
  uint64_t empty_namespaces; /* CLONE_NEW*: made again, but without what is in them */
  ncr_tcp tcp;
  int tcp_skip_in_flight; /* nonzero: connections not accepted yet are dropped, not refused */
  ncr_network_lock network_lock;
  int external_unix_sockets; /* nonzero: peers of unix sockets may lie outside the tree */
  ncr_cgroup_mode cgroups;
  const char* parent_images; /* relative to images_dir: pages as they are there are not stored */
  int track_memory;          /* nonzero: the next dump may name this one as its parent */
  int page_server;           /* a connected socket that pages go to, or -1 */
  int lazy_pages;            /* nonzero: the restored tree gets its pages from here */
  /* nonzero: a terminal's other end may be outside; a restore makes it, and hands it over */
  int orphan_pts_master;
} ncr_dump_options;
#define NCR_DUMP_OPTIONS_INIT                                                                     \
  {                                                                                               \
    sizeof(ncr_dump_options), 0, NULL, NCR_KILL, 0, NULL, 10000, 0, NULL, NULL, NULL, NULL, 0, 0, \
        0, NCR_TCP_REFUSE, 0, NCR_LOCK_NFTABLES, 0, NCR_CGROUP_SOFT, NULL, 0, -1, 0, 0            \
  }

typedef struct ncr_restore_options {
  size_t size;
  const char* images_dir;
  int shell_job;
  int leave_stopped; /* nonzero: every task is left stopped (SIGSTOP) */
  int sibling;       /* nonzero: the root becomes a child of the caller's parent */
  unsigned threads;
  const char* trace_file;
  const ncr_callbacks* callbacks;
  const char* root; /* becomes the root of the tree's mount namespace: a mount point; or NULL */
  const ncr_external* externals;
  size_t n_externals;
  const ncr_inherited_fd* inherited;
  size_t n_inherited;
  const ncr_joined_namespace* joined; /* in place of those of the image */
  size_t n_joined;
  uint64_t empty_namespaces; /* CLONE_NEW* */
  ncr_tcp tcp;
  ncr_cgroup_mode cgroups;
  const ncr_cgroup_root* cgroup_roots;
  size_t n_cgroup_roots;
  /* nonzero: a terminal whose other end was outside is made, and handed to the hook */
  int orphan_pts_master;
  const char* lsm_profile; /* "apparmor:NAME" or "selinux:LABEL"; NULL: as in the image */
  const char* lsm_mount_context;
  int lazy_pages;
  const char* lazy_pages_socket; /* where the daemon that has the pages listens */
} ncr_restore_options;
#define NCR_RESTORE_OPTIONS_INIT                                                                   \
  {                                                                                                \
    sizeof(ncr_restore_options), NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL, 0, NULL, 0, NULL, 0, 0, \
        NCR_TCP_REFUSE, NCR_CGROUP_SOFT, NULL, 0, 0, NULL, NULL, 0, NULL                           \
  }

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

/* ---- Memory in several steps ----
 *
 * Incremental: ncr_predump() writes the memory of a tree that runs on, as often as is worth it; a
 * last ncr_dump() whose parent_images names the last of them stores only what differs.
 * Over the network: ncr_page_server() takes the pages of a dump on another machine into a directory
 * of its own; that directory and the dump's are then put together (no file is in both).
 * Lazily: ncr_lazy_pages() gives a tree restored with lazy_pages its pages when it asks for them.
 */

/* Memory only: what cannot be restored, but can be the parent of a dump. The tree stands still for
 * a moment. Of the options: pid, images_dir, parent_images, page_server, freeze_*, threads,
 * trace_file, callbacks. JSON as of ncr_dump(). */
NCR_EXPORT ncr_status ncr_predump(const ncr_dump_options* options, char** report,
                                  ncr_error** error);

typedef struct ncr_page_server_options {
  size_t size;
  const char* images_dir; /* gets pages-1.img; made if missing */
  const char* address;    /* to listen at, numeric; NULL: every IPv4 address */
  uint16_t port;          /* 0: the kernel chooses */
  int socket;    /* a connected or a listening socket of the caller in their place; or -1 */
  int status_fd; /* gets one NUL byte once the server listens; or -1 */
  const ncr_callbacks* callbacks;
} ncr_page_server_options;
#define NCR_PAGE_SERVER_OPTIONS_INIT \
  { sizeof(ncr_page_server_options), NULL, NULL, 0, -1, -1, NULL }

/* Serves one dump and returns when its pages are on disk. A dump uses it by ncr_dump_options.
 * page_server, a socket connected to it. JSON: pages, bytes. */
NCR_EXPORT ncr_status ncr_page_server(const ncr_page_server_options* options, char** report,
                                      ncr_error** error);

typedef struct ncr_lazy_pages_options {
  size_t size;
  const char* images_dir;
  const char* socket_path; /* where ncr_restore() finds it; NULL: images_dir/lazy-pages.socket */
  int page_server; /* a socket connected to a dump with lazy_pages, which has the pages; or -1 */
  int status_fd;   /* gets one NUL byte once it listens; or -1 */
  const ncr_callbacks* callbacks;
} ncr_lazy_pages_options;
#define NCR_LAZY_PAGES_OPTIONS_INIT \
  { sizeof(ncr_lazy_pages_options), NULL, NULL, -1, -1, NULL }

/* Serves one restored tree and returns when it has all of its pages. Blocks for as long; if it is
 * killed before, so is the tree. JSON: pages {faults, copied, zero}. */
NCR_EXPORT ncr_status ncr_lazy_pages(const ncr_lazy_pages_options* options, char** report,
                                     ncr_error** error);

/* Gives up what the parents of this image store and the image does not use: their pages files get
 * holes. They can no longer be restored by themselves. JSON: pages, bytes. */
NCR_EXPORT ncr_status ncr_dedup(const char* images_dir, char** report, ncr_error** error);

NCR_EXPORT void ncr_string_free(char* string); /* NULL is fine */
NCR_EXPORT const char* ncr_version(void);      /* "0.1.0" */

#ifdef __cplusplus
}
#endif
#endif
