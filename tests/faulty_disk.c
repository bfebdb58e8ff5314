/* A disk that fails: calls on files in $FAULTS_FOLDER fail at random.

   LD_PRELOAD of a process. $FAULTS_SHARE of the calls named in $FAULTS_CALLS
   (read, write, sync, rename) fail with $FAULTS_ERRNO; each is a line in
   $FAULTS_LOG. The draws are those of $FAULTS_SEED and of how long it has run.
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES 65536

static char marked[FILES];
static const char *folder, *calls, *log_path;
static double share;
static int number;
static unsigned long long state;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void begin(void) {
  folder = getenv("FAULTS_FOLDER");
  calls = getenv("FAULTS_CALLS");
  log_path = getenv("FAULTS_LOG");
  share = atof(getenv("FAULTS_SHARE") ? getenv("FAULTS_SHARE") : "0");
  number = atoi(getenv("FAULTS_ERRNO") ? getenv("FAULTS_ERRNO") : "5");
  state = 2 * atoll(getenv("FAULTS_SEED") ? getenv("FAULTS_SEED") : "0") + 1;
}

static int within(const char *path) {
  return folder && path && strstr(path, folder) && strstr(path, "/checkpoints");
}

static int fails(const char *call) {
  if (!calls || !strstr(calls, call)) return 0;
  pthread_mutex_lock(&lock);
  state = state * 6364136223846793005ULL + 1442695040888963407ULL;
  double draw = (double)(state >> 11) / 9007199254740992.0;
  pthread_mutex_unlock(&lock);
  if (draw >= share) return 0;
  if (log_path) {
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    ssize_t (*out)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    int fd = real(log_path, O_WRONLY | O_APPEND | O_CREAT, 0644);
    if (fd >= 0) {
      char line[32];
      int size = snprintf(line, sizeof line, "%s\n", call);
      if (out(fd, line, size)) {}
      close(fd);
    }
  }
  errno = number;
  return 1;
}

static int mark(int fd, const char *path) {
  if (fd >= 0 && fd < FILES) marked[fd] = within(path);
  return fd;
}

static int hit(int fd, const char *call) {
  return fd >= 0 && fd < FILES && marked[fd] && fails(call);
}

#define OPEN(name)                                                     \
  int name(const char *path, int flags, ...) {                         \
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name);     \
    va_list rest;                                                      \
    va_start(rest, flags);                                             \
    int mode = va_arg(rest, int);                                      \
    va_end(rest);                                                      \
    return mark(real(path, flags, mode), path);                        \
  }
#define OPENAT(name)                                                   \
  int name(int at, const char *path, int flags, ...) {                 \
    int (*real)(int, const char *, int, ...) = dlsym(RTLD_NEXT, #name); \
    va_list rest;                                                      \
    va_start(rest, flags);                                             \
    int mode = va_arg(rest, int);                                      \
    va_end(rest);                                                      \
    return mark(real(at, path, flags, mode), path);                    \
  }
#define IO(type, name, call, parameters, ...)                          \
  type name parameters {                                               \
    type (*real) parameters = dlsym(RTLD_NEXT, #name);                 \
    return hit(fd, call) ? -1 : real(__VA_ARGS__);                     \
  }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
IO(ssize_t, read, "read", (int fd, void *to, size_t n), fd, to, n)
IO(ssize_t, pread, "read", (int fd, void *to, size_t n, off_t at), fd, to, n, at)
IO(ssize_t, pread64, "read", (int fd, void *to, size_t n, off_t at), fd, to, n, at)
IO(ssize_t, write, "write", (int fd, const void *of, size_t n), fd, of, n)
IO(ssize_t, pwrite, "write", (int fd, const void *of, size_t n, off_t at), fd, of, n, at)
IO(ssize_t, pwrite64, "write", (int fd, const void *of, size_t n, off_t at), fd, of, n, at)
IO(ssize_t, writev, "write", (int fd, const struct iovec *of, int n), fd, of, n)
IO(ssize_t, pwritev, "write", (int fd, const struct iovec *of, int n, off_t at), fd, of, n, at)
IO(int, fsync, "sync", (int fd), fd)
IO(int, fdatasync, "sync", (int fd), fd)

int rename(const char *from, const char *to) {
  int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
  return within(to) && fails("rename") ? -1 : real(from, to);
}

int mkdir(const char *path, mode_t mode) {
  int (*real)(const char *, mode_t) = dlsym(RTLD_NEXT, "mkdir");
  return within(path) && fails("write") ? -1 : real(path, mode);
}

int close(int fd) {
  int (*real)(int) = dlsym(RTLD_NEXT, "close");
  if (fd >= 0 && fd < FILES) marked[fd] = 0;
  return real(fd);
}
