// Calls on files below $FAULTS_UNDER fail with EIO, one in $FAULTS_EVERY by
// chance; each is a byte more in the file $FAULTS_LOG. For LD_PRELOAD.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int fails(const char *path) {
  static __thread unsigned long long state;
  const char *under = getenv("FAULTS_UNDER"), *every = getenv("FAULTS_EVERY");
  if (!under || !every || !path || strncmp(path, under, strlen(under))) return 0;
  if (!state) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    state = now.tv_nsec * 2654435761u + gettid();
  }
  state = state * 6364136223846793005ull + 1442695040888963407ull;
  if ((state >> 33) % atoi(every)) return 0;
  int log = syscall(SYS_openat, AT_FDCWD, getenv("FAULTS_LOG"),
                    O_WRONLY | O_APPEND | O_CREAT, 0644);
  syscall(SYS_write, log, "x", 1);
  syscall(SYS_close, log);
  errno = EIO;
  return 1;
}

static int fails_fd(int fd) {
  char link[32], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return fails(path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                         \
  int name(const char *path, int flags, ...) {             \
    va_list rest;                                          \
    va_start(rest, flags);                                 \
    mode_t mode = va_arg(rest, mode_t);                    \
    va_end(rest);                                          \
    return fails(path) ? -1 : REAL(name)(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)

#define TRANSFER(name, ...)                                \
  ssize_t name(int fd, __VA_ARGS__)
TRANSFER(read, void *at, size_t n) {
  return fails_fd(fd) ? -1 : REAL(read)(fd, at, n);
}
TRANSFER(write, const void *at, size_t n) {
  return fails_fd(fd) ? -1 : REAL(write)(fd, at, n);
}
TRANSFER(pread, void *at, size_t n, off_t from) {
  return fails_fd(fd) ? -1 : REAL(pread)(fd, at, n, from);
}
TRANSFER(pread64, void *at, size_t n, off64_t from) {
  return fails_fd(fd) ? -1 : REAL(pread64)(fd, at, n, from);
}
TRANSFER(pwrite, const void *at, size_t n, off_t to) {
  return fails_fd(fd) ? -1 : REAL(pwrite)(fd, at, n, to);
}
TRANSFER(pwrite64, const void *at, size_t n, off64_t to) {
  return fails_fd(fd) ? -1 : REAL(pwrite64)(fd, at, n, to);
}
int fsync(int fd) { return fails_fd(fd) ? -1 : REAL(fsync)(fd); }
int rename(const char *from, const char *to) {
  return fails(to) ? -1 : REAL(rename)(from, to);
}
