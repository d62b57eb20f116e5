/* SPDX-License-Identifier: Apache-2.0 */
/* maps.c - see maps.h.
 *
 * The handler may run on any thread that reads: it looks an address up in a list that only grows
 * and puts anonymous memory there with one system call. Entries are used again, never freed.
 */
#include "maps.h"

#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct guard {
    _Atomic uintptr_t begin, end; /* 0: free */
    _Atomic bool failed;
    struct guard *next; /* set before it is in the list */
};

static _Atomic(struct guard *) guards;
static struct sigaction before; /* the handler, if any, that had SIGBUS */
static uintptr_t page_bytes;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
    uintptr_t at = (uintptr_t)info->si_addr;
    int saved = errno;
    for (struct guard *g = atomic_load(&guards); g; g = g->next) {
        uintptr_t begin = atomic_load(&g->begin), end = atomic_load(&g->end);
        if (!begin || at < begin || at >= end)
            continue;
        uintptr_t page = at / page_bytes * page_bytes;
        atomic_store(&g->failed, true);
        /* Behind the first page that is gone everything is. */
        if (mmap((void *)page, end - page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                 0) == MAP_FAILED)
            break;
        errno = saved;
        return;
    }
    /* Not ours: the read is repeated under the handler that was there before. */
    (void)sig;
    (void)context;
    sigaction(SIGBUS, &before, NULL);
    errno = saved;
}

/* Whenever a file is opened and somebody else has the signal. */
static void install(void)
{
    struct sigaction a = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO}, now;
    page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    sigemptyset(&a.sa_mask);
    if (sigaction(SIGBUS, NULL, &now) != 0 ||
        ((now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_sigbus))
        return;
    before = now;
    sigaction(SIGBUS, &a, NULL);
}

static struct guard *guard_take(const void *p, size_t n)
{
    struct guard *g = atomic_load(&guards);
    uintptr_t end = (uintptr_t)p + (n + page_bytes - 1) / page_bytes * page_bytes;
    while (g && atomic_load(&g->begin))
        g = g->next;
    bool fresh = g == NULL;
    if (fresh)
        g = xalloc(sizeof *g);
    atomic_store(&g->failed, false);
    atomic_store(&g->end, end);
    atomic_store(&g->begin, (uintptr_t)p);
    if (fresh) {
        g->next = atomic_load(&guards);
        atomic_store(&guards, g);
    }
    return g;
}

static int64_t mtime_of(const struct stat *info)
{
    return (int64_t)info->st_mtim.tv_sec * 1000000000 + info->st_mtim.tv_nsec;
}

int file_map_open(struct file_map *m, const char *path, struct err *e)
{
    struct stat info;
    *m = (struct file_map){0};
    install();
    /* O_NONBLOCK: a fifo must not hang the start; it is refused below. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return err_set(e, errno == ENOENT || errno == ENOTDIR ? ST_NOT_FOUND : ST_IO, "%s: %s",
                       path, strerror(errno));
    int st = 0;
    if (fstat(fd, &info) != 0)
        st = err_set(e, ST_IO, "%s: %s", path, strerror(errno));
    else if (!S_ISREG(info.st_mode))
        st = err_set(e, ST_IO, "%s: not a regular file", path);
    else if (info.st_size == 0)
        m->p = (const uint8_t *)"";
    else {
        void *p = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            st = err_set(e, ST_IO, "%s: cannot map: %s", path, strerror(errno));
        else
            *m = (struct file_map){.p = p,
                                   .n = (size_t)info.st_size,
                                   .is_map = true,
                                   .path = xstrdup(path),
                                   .dev = info.st_dev,
                                   .ino = info.st_ino,
                                   .guard = guard_take(p, (size_t)info.st_size)};
    }
    m->mtime_ns = st ? 0 : mtime_of(&info);
    close(fd);
    return st;
}

void file_map_close(struct file_map *m)
{
    if (m->is_map) {
        munmap((void *)(uintptr_t)m->p, m->n);
        atomic_store(&m->guard->begin, 0);
        free(m->path);
    }
    *m = (struct file_map){0};
}

bool file_map_failed(const struct file_map *m)
{
    return m->is_map && atomic_load(&m->guard->failed);
}

int file_map_check(const struct file_map *m, struct err *e)
{
    struct stat info;
    if (!m->is_map)
        return 0;
    /* Another file under this name is no harm: the one that is mapped lives on. */
    bool same = stat(m->path, &info) == 0 && info.st_dev == m->dev && info.st_ino == m->ino;
    if (same && (uint64_t)info.st_size < m->n)
        return err_set(e, ST_IO,
                       "%s: the file became shorter while it was read (%zu bytes, now %lld); wait "
                       "until it is copied completely and start again",
                       m->path, m->n, (long long)info.st_size);
    if (file_map_failed(m))
        return err_set(
            e, ST_IO,
            "%s: a part of the file could not be read: it was cut meanwhile, or the disk "
            "failed",
            m->path);
    if (same && mtime_of(&info) != m->mtime_ns)
        return err_set(e, ST_IO,
                       "%s: the file was changed while it was read; wait until it is copied "
                       "completely and start again",
                       m->path);
    return 0;
}
