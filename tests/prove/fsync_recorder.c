/* Records what a process makes durable, in the order of its calls; for tests/prove/test_fsync.py.

   LD_PRELOAD=fsync_recorder.so FSYNC_LOG=/some/file FSYNC_ROOT=/data/blobs program

   Each line is one call that came back with success, on a path under FSYNC_ROOT:
     W path size     bytes were written; the file has so many now
     S path size     fsync or fdatasync of a file that has so many bytes
     D path          fsync of a folder
     L old new       link          R old new   rename
     U path          unlink        M path      mkdir
   A line is written with one write() under O_APPEND, so lines of threads do not mix. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int log_fd = -1;
static const char *root;

static int is_ours(const char *path)
{
    if (log_fd < 0) {
        const char *name = getenv("FSYNC_LOG");
        root = getenv("FSYNC_ROOT");
        if (!name || !root)
            return 0;
        log_fd = (int)syscall(SYS_openat, AT_FDCWD, name,
                              O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
    return path && strncmp(path, root, strlen(root)) == 0;
}

static void record(const char *format, ...)
{
    int saved = errno;
    char line[3 * PATH_MAX];
    va_list values;
    va_start(values, format);
    int length = vsnprintf(line, sizeof line, format, values);
    va_end(values);
    if (length > 0)
        syscall(SYS_write, log_fd, line, (size_t)length);
    errno = saved;
}

static int path_of(int fd, char *path)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return is_ours(path);
}

static long long size_of(int fd)
{
    struct stat status;
    return fstat(fd, &status) ? -1 : (long long)status.st_size;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static void record_sync(int fd)
{
    char path[PATH_MAX];
    struct stat status;
    if (path_of(fd, path) && !fstat(fd, &status)) {
        if (S_ISDIR(status.st_mode))
            record("D\t%s\n", path);
        else
            record("S\t%s\t%lld\n", path, (long long)status.st_size);
    }
}

int fsync(int fd)
{
    REAL(fsync);
    int result = real(fd);
    if (!result)
        record_sync(fd);
    return result;
}

int fdatasync(int fd)
{
    REAL(fdatasync);
    int result = real(fd);
    if (!result)
        record_sync(fd);
    return result;
}

ssize_t write(int fd, const void *bytes, size_t count)
{
    REAL(write);
    ssize_t result = real(fd, bytes, count);
    char path[PATH_MAX];
    if (result > 0 && path_of(fd, path))
        record("W\t%s\t%lld\n", path, size_of(fd));
    return result;
}

static const char *absolute(const char *path, char *buffer)
{
    if (path[0] == '/')
        return path;
    if (!getcwd(buffer, PATH_MAX))
        return path;
    strncat(buffer, "/", PATH_MAX - strlen(buffer) - 1);
    strncat(buffer, path, PATH_MAX - strlen(buffer) - 1);
    return buffer;
}

static void record_two(const char *letter, const char *from, const char *to)
{
    char first[PATH_MAX], second[PATH_MAX];
    const char *a = absolute(from, first), *b = absolute(to, second);
    if (is_ours(a) || is_ours(b))
        record("%s\t%s\t%s\n", letter, a, b);
}

int link(const char *from, const char *to)
{
    REAL(link);
    int result = real(from, to);
    if (!result)
        record_two("L", from, to);
    return result;
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
    REAL(linkat);
    int result = real(from_fd, from, to_fd, to, flags);
    if (!result)
        record_two("L", from, to);
    return result;
}

int rename(const char *from, const char *to)
{
    REAL(rename);
    int result = real(from, to);
    if (!result)
        record_two("R", from, to);
    return result;
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    REAL(renameat);
    int result = real(from_fd, from, to_fd, to);
    if (!result)
        record_two("R", from, to);
    return result;
}

static void record_one(const char *letter, const char *path)
{
    char buffer[PATH_MAX];
    const char *whole = absolute(path, buffer);
    if (is_ours(whole))
        record("%s\t%s\n", letter, whole);
}

int unlink(const char *path)
{
    REAL(unlink);
    int result = real(path);
    if (!result)
        record_one("U", path);
    return result;
}

int mkdir(const char *path, mode_t mode)
{
    REAL(mkdir);
    int result = real(path, mode);
    if (!result)
        record_one("M", path);
    return result;
}
