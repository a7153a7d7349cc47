/* Between a process and its disk (LD_PRELOAD): counts, notes and spoils the calls that concern
   paths below one folder. See disk_faults.py. Linux with glibc. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[PATH_MAX];
static long at = -1, seen, room = -1;
static int number, deadly, looking, journal = -1;
static char mapped[8][PATH_MAX]; /* files that are written through a map */
static int maps;

/* Begin: the at-th call from here fails with `number`, or kills where that is 0; at < 0 never.
   Calls that change nothing count where `looking_`. Calls are noted in the file `journal_` (< 0:
   nowhere). Writes beyond `room_` bytes fail. */
void faults_arm(const char *root_, long at_, int number_, int journal_, long room_, int looking_) {
    strncpy(root, root_, PATH_MAX - 1);
    looking = looking_, maps = 0;
    at = at_, number = number_, deadly = number_ == 0, journal = journal_, room = room_, seen = 0;
}

long faults_seen(void) { return seen; }
long faults_room(void) { return room; }

static int below(const char *path) { return root[0] && !strncmp(path, root, strlen(root)); }

static const char *name_of(int fd, const char *path, char *space) {
    char link[64];
    ssize_t length;
    if (path && path[0] == '/') return path;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(fd == AT_FDCWD ? "/proc/self/cwd" : link, space, PATH_MAX - 1);
    if (length < 0) return "";
    space[length] = 0;
    if (path && length + strlen(path) + 2 < PATH_MAX) strcat(strcat(space, "/"), path);
    return space;
}

/* Add what is written, in hexadecimal, to the note of the call. */
static void note(const void *data, size_t size) {
    char *text = malloc(2 * size + 1);
    if (journal < 0 || !text) { free(text); return; }
    for (size_t i = 0; i < size; i++) sprintf(text + 2 * i, "%02x", ((const unsigned char *)data)[i]);
    dprintf(journal, "data\t%s\n", text);
    free(text);
}

/* Return whether the call is to fail, with errno set; note it; kill. */
static int fails(const char *what, const char *path, long size) {
    if (!below(path)) return 0;
    if (seen++ == at) {
        if (deadly) kill(getpid(), SIGKILL);
        errno = number;
        return 1;
    }
    if (journal >= 0) dprintf(journal, "%s\t%s\t%ld\n", what, path, size);
    return 0;
}

/* The same of a call that changes nothing. */
static int fails_looking(const char *what, const char *path) {
    return looking && fails(what, path, 0);
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name)
#define SPACE char space[PATH_MAX]; (void)space

#define OPENER(name) \
    int name(const char *path, int flags, ...) { \
        REAL(int, name, const char *, int, ...); SPACE; va_list more; va_start(more, flags); \
        int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, int) : 0; va_end(more); \
        const char *what = flags & O_TRUNC ? "create" : flags & O_CREAT ? "touch" : "open"; \
        path = name_of(AT_FDCWD, path, space); \
        if (flags & (O_CREAT | O_TRUNC) ? fails(what, path, 0) : fails_looking(what, path)) \
            return -1; \
        return real(path, flags, mode); }
#define OPENER_AT(name) \
    int name(int fd, const char *path, int flags, ...) { \
        REAL(int, name, int, const char *, int, ...); SPACE; va_list more; va_start(more, flags); \
        int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, int) : 0; va_end(more); \
        if (fails_looking("open", name_of(fd, path, space))) return -1; \
        return real(fd, path, flags, mode); }
OPENER(open)
OPENER(open64)
OPENER_AT(openat)
OPENER_AT(openat64)

/* The C library's own streams, by which FAISS writes and reads. */
#define STREAMER(name) \
    FILE *name(const char *path, const char *mode) { \
        REAL(FILE *, name, const char *, const char *); SPACE; \
        const char *what = *mode == 'w' ? "create" : *mode == 'a' ? "touch" : "open"; \
        path = name_of(AT_FDCWD, path, space); \
        return (*mode == 'r' ? fails_looking(what, path) : fails(what, path, 0)) \
            ? NULL : real(path, mode); }
STREAMER(fopen)
STREAMER(fopen64)

size_t fread(void *data, size_t size, size_t count, FILE *file) {
    REAL(size_t, fread, void *, size_t, size_t, FILE *); SPACE;
    const char *path = name_of(fileno(file), NULL, space);
    return fails_looking("read", path) ? 0 : real(data, size, count, file);
}

/* Return how many bytes there is room for; -1 where there is none, with errno set. */
static ssize_t rest(const char *path, size_t size) {
    if (room < 0 || !below(path)) return size;
    size_t most = (size_t)room < size ? (size_t)room : size;
    room -= most;
    if (most || !size) return most;
    errno = ENOSPC;
    return -1;
}

#define WRITER(name, offset, ...) \
    ssize_t name(int fd, const void *data, size_t size __VA_ARGS__) { \
        REAL(ssize_t, name, int, const void *, size_t __VA_ARGS__); SPACE; \
        const char *path = name_of(fd, NULL, space); ssize_t most; \
        if (!below(path)) return real(fd, data, size offset); \
        if (fails("write", path, size) || (most = rest(path, size)) < 0) return -1; \
        note(data, most); \
        return real(fd, data, most offset); }
WRITER(write, )
#define OFFSET , at_
WRITER(pwrite64, OFFSET, , off_t at_)

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int); SPACE;
    const char *path = name_of(fd, NULL, space);
    size_t size = 0;
    for (int i = 0; i < count; i++) size += parts[i].iov_len;
    if (below(path) && (fails("write", path, size) || rest(path, size) < (ssize_t)size)) {
        errno = errno ? errno : ENOSPC;
        return -1;
    }
    for (int i = 0; below(path) && i < count; i++) note(parts[i].iov_base, parts[i].iov_len);
    return real(fd, parts, count);
}

size_t fwrite(const void *data, size_t size, size_t count, FILE *file) {
    REAL(size_t, fwrite, const void *, size_t, size_t, FILE *); SPACE;
    const char *path = name_of(fileno(file), NULL, space);
    if (below(path) &&
        (fails("write", path, size * count) || rest(path, size * count) < (ssize_t)(size * count)))
        return 0;
    if (below(path)) note(data, size * count);
    return real(data, size, count, file);
}

#define READER(name, offset, ...) \
    ssize_t name(int fd, void *data, size_t size __VA_ARGS__) { \
        REAL(ssize_t, name, int, void *, size_t __VA_ARGS__); SPACE; \
        if (fails_looking("read", name_of(fd, NULL, space))) return -1; \
        return real(fd, data, size offset); }
READER(read, )
READER(pread64, OFFSET, , off_t at_)

/* Note what a file holds that is written through a map: no call says what. */
static void note_mapped(const char *path) {
    for (int i = 0; journal >= 0 && i < maps; i++) {
        struct stat is;
        if (strcmp(mapped[i], path) || stat(path, &is)) continue;
        FILE *file = fopen(path, "r");
        char *data = malloc(is.st_size);
        if (file && data && fread(data, 1, is.st_size, file) == (size_t)is.st_size) {
            dprintf(journal, "mapped\t%s\t0\n", path);
            note(data, is.st_size);
        }
        if (file) fclose(file);
        free(data);
    }
}

#define SYNCER(name) \
    int name(int fd) { \
        REAL(int, name, int); SPACE; \
        const char *path = name_of(fd, NULL, space); \
        if (below(path)) note_mapped(path); \
        if (fails("fsync", path, 0)) return -1; \
        return real(fd); }
SYNCER(fsync)
SYNCER(fdatasync)

static int names(const char *what, const char *from, const char *to) {
    char both[2 * PATH_MAX + 2];
    snprintf(both, sizeof both, "%s\t%s", from, to);
    return fails(what, both, 0);
}

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    return names("rename", from, to) ? -1 : real(from, to);
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
    REAL(int, renameat2, int, const char *, int, const char *, unsigned);
    return names("exchange", from, to) ? -1 : real(from_fd, from, to_fd, to, flags);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t);
    return fails("mkdir", path, 0) ? -1 : real(path, mode);
}

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    return fails("unlink", path, 0) ? -1 : real(path);
}

int rmdir(const char *path) {
    REAL(int, rmdir, const char *);
    return fails("unlink", path, 0) ? -1 : real(path);
}

int unlinkat(int fd, const char *path, int flags) {
    REAL(int, unlinkat, int, const char *, int); SPACE;
    return fails("unlink", name_of(fd, path, space), 0) ? -1 : real(fd, path, flags);
}

/* A file's length. Room is taken for what is added: it is going to be written through a map, where
   a full disk is no error but a signal. */
static int grows(const char *path, long size) {
    struct stat is;
    long more = stat(path, &is) ? 0 : size - is.st_size;
    if (room < 0 || !below(path) || more <= 0) return 1;
    if (more > room) return 0;
    room -= more;
    return 1;
}

#define TRUNCATER(name, type, from) \
    int name(type file, off_t size) { \
        REAL(int, name, type, off_t); SPACE; \
        const char *path = from; \
        if (fails("truncate", path, size)) return -1; \
        if (!grows(path, size)) raise(SIGBUS); \
        return real(file, size); }
TRUNCATER(truncate, const char *, name_of(AT_FDCWD, file, space))
TRUNCATER(truncate64, const char *, name_of(AT_FDCWD, file, space))
TRUNCATER(ftruncate, int, name_of(file, NULL, space))
TRUNCATER(ftruncate64, int, name_of(file, NULL, space))

int posix_fallocate64(int fd, off_t from, off_t size) {
    REAL(int, posix_fallocate64, int, off_t, off_t); SPACE;
    const char *path = name_of(fd, NULL, space);
    if (fails("truncate", path, from + size)) return errno;
    return grows(path, from + size) ? real(fd, from, size) : ENOSPC;
}

#define ROOM(name) \
    int name(const char *path, struct name *is) { \
        REAL(int, name, const char *, struct name *); SPACE; \
        path = name_of(AT_FDCWD, path, space); \
        if (fails_looking("room", path)) return -1; \
        int code = real(path, is); \
        if (!code && room >= 0 && below(path)) is->f_bavail = is->f_bfree = room / is->f_frsize; \
        return code; }
ROOM(statvfs)
ROOM(statvfs64)

#define MAPPER(name) \
    void *name(void *at_, size_t size, int protection, int flags, int fd, off_t from) { \
        REAL(void *, name, void *, size_t, int, int, int, off_t); SPACE; \
        const char *path = root[0] && fd >= 0 ? name_of(fd, NULL, space) : ""; \
        int writes = (protection & PROT_WRITE) && (flags & MAP_SHARED); \
        if (writes ? fails("map", path, size) : fails_looking("map", path)) return MAP_FAILED; \
        if (writes && below(path) && maps < 8) strcpy(mapped[maps++], path); \
        return real(at_, size, protection, flags, fd, from); }
MAPPER(mmap)
MAPPER(mmap64)

#define STATTER(name, type) \
    int name(const char *path, struct type *is) { \
        REAL(int, name, const char *, struct type *); SPACE; \
        if (fails_looking("stat", name_of(AT_FDCWD, path, space))) return -1; \
        return real(path, is); }
STATTER(stat64, stat64)
STATTER(lstat64, stat64)

int fstat64(int fd, struct stat64 *is) {
    REAL(int, fstat64, int, struct stat64 *); SPACE;
    return fails_looking("stat", name_of(fd, NULL, space)) ? -1 : real(fd, is);
}

int fstatat64(int fd, const char *path, struct stat64 *is, int flags) {
    REAL(int, fstatat64, int, const char *, struct stat64 *, int); SPACE;
    return fails_looking("stat", name_of(fd, path, space)) ? -1 : real(fd, path, is, flags);
}

DIR *opendir(const char *path) {
    REAL(DIR *, opendir, const char *); SPACE;
    return fails_looking("list", name_of(AT_FDCWD, path, space)) ? NULL : real(path);
}

DIR *fdopendir(int fd) {
    REAL(DIR *, fdopendir, int); SPACE;
    return fails_looking("list", name_of(fd, NULL, space)) ? NULL : real(fd);
}

int flock(int fd, int how) {
    REAL(int, flock, int, int); SPACE;
    return fails("lock", name_of(fd, NULL, space), 0) ? -1 : real(fd, how);
}

/* Not to be had below the folder: what it writes would not be seen. Python then reads and writes. */
ssize_t sendfile64(int to, int from, off64_t *at_, size_t size) {
    REAL(ssize_t, sendfile64, int, int, off64_t *, size_t); SPACE;
    if (!below(name_of(to, NULL, space))) return real(to, from, at_, size);
    errno = ENOSYS;
    return -1;
}
