/* Preloaded into a load: the nth write to a file is cut short, and the process killed.

   TORN_NTH      which write
   TORN_PLACE    count only writes to files whose path holds this; default: to DuckDB's files
   TORN_OFFSET   count only writes at this offset of the file; default: all
   TORN_PERCENT  how much of it comes through */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int is_meant(int file)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    const char *place = getenv("TORN_PLACE");
    if (place)
        return strstr(path, place) != NULL;
    const char *dot = strrchr(path, '.');
    return dot && (!strcmp(dot, ".duckdb") || !strcmp(dot, ".wal"));
}

static size_t part_of(int file, size_t size, long long offset)
{
    static long count;
    const char *nth = getenv("TORN_NTH"), *only = getenv("TORN_OFFSET");
    if (!nth || !is_meant(file) || (only && atoll(only) != offset))
        return size;
    if (__sync_add_and_fetch(&count, 1) != atol(nth))
        return size;
    return size * atol(getenv("TORN_PERCENT")) / 100;
}

static void die(void)
{
    kill(getpid(), SIGKILL);
    pause();
}

ssize_t pwrite64(int file, const void *data, size_t size, off_t offset)
{
    ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, "pwrite64");
    size_t part = part_of(file, size, offset);
    ssize_t written = real(file, data, part, offset);
    if (part < size)
        die();
    return written;
}

ssize_t pwrite(int file, const void *data, size_t size, off_t offset)
{
    return pwrite64(file, data, size, offset);
}

ssize_t write(int file, const void *data, size_t size)
{
    ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
    size_t part = part_of(file, size, lseek(file, 0, SEEK_CUR));
    ssize_t written = real(file, data, part);
    if (part < size)
        die();
    return written;
}
