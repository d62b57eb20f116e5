/* SPDX-License-Identifier: Apache-2.0 */
/* process.c - see process.h. */
#include "process.h"

#include "expo.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static double seconds(const struct timeval *t)
{
    return (double)t->tv_sec + (double)t->tv_usec * 1e-6;
}

/* Pages: all, resident. */
static void memory_of(long *all, long *resident)
{
    char t[128], *end;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, t, sizeof t - 1);
    *all = *resident = 0;
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return;
    t[n] = '\0';
    *all = strtol(t, &end, 10);
    *resident = strtol(end, NULL, 10);
}

/* Newer kernels (6.2) say how many as the folder's size; on older ones they are counted. */
static long open_fds(void)
{
    struct stat s;
    long n = 0;
    if (stat("/proc/self/fd", &s) == 0 && s.st_size > 0)
        return (long)s.st_size;
    DIR *d = opendir("/proc/self/fd");
    if (!d)
        return 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n - 3; /* ".", ".." and the folder's own */
}

void process_metrics(struct buf *b, int64_t start_unix_s)
{
    struct rusage u = {0};
    struct rlimit l = {0};
    long all, resident, page = sysconf(_SC_PAGESIZE);
    getrusage(RUSAGE_SELF, &u);
    getrlimit(RLIMIT_NOFILE, &l);
    memory_of(&all, &resident);
    const struct {
        const char *name;
        enum expo_type type;
        const char *help;
        double v;
    } t[] = {
        {"cpu_seconds_total", EXPO_COUNTER, "User and system CPU time.",
         seconds(&u.ru_utime) + seconds(&u.ru_stime)},
        {"resident_memory_bytes", EXPO_GAUGE, "Resident memory.", (double)resident * (double)page},
        {"virtual_memory_bytes", EXPO_GAUGE, "Address space.", (double)all * (double)page},
        {"open_fds", EXPO_GAUGE, "Open file descriptors.", (double)open_fds()},
        {"max_fds", EXPO_GAUGE, "Most file descriptors.", (double)l.rlim_cur},
        {"start_time_seconds", EXPO_GAUGE, "Start of the process, Unix time.",
         (double)start_unix_s},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++)
        expo_one(b, "process_", t[i].name, t[i].type, t[i].help, "", t[i].v);
}
