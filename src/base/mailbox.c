/* SPDX-License-Identifier: Apache-2.0 */
/* mailbox.c - two byte vectors, one lock: senders append to `in`, the receiver swaps it with `out`.
 *
 * Owns the only lock of the program. Records are [size_t n][n bytes][padding to 8].
 */
#include "mailbox.h"

#include "mem.h"
#include "status.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct vec {
    char *p;
    size_t n, cap;
};

struct mbox {
    pthread_mutex_t lock;
    pthread_cond_t some;
    struct vec in;  /* under lock */
    int n_in;       /* under lock */
    struct vec out; /* receiver only */
    size_t at;      /* receiver only: walk position in out */
    size_t reserve, max_bytes;
    void (*wake)(void *);
    void *arg;
};

struct mbox *mbox_new(size_t reserve, size_t max_bytes, void (*wake)(void *), void *arg)
{
    struct mbox *m = xalloc(sizeof *m);
    pthread_condattr_t ca;
    pthread_mutex_init(&m->lock, NULL);
    pthread_condattr_init(&ca);
    pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
    pthread_cond_init(&m->some, &ca);
    pthread_condattr_destroy(&ca);
    m->in = (struct vec){xalloc(reserve), 0, reserve};
    m->out = (struct vec){xalloc(reserve), 0, reserve};
    m->reserve = reserve;
    m->max_bytes = max_bytes;
    m->wake = wake;
    m->arg = arg;
    return m;
}

void mbox_free(struct mbox *m)
{
    if (!m)
        return;
    pthread_mutex_destroy(&m->lock);
    pthread_cond_destroy(&m->some);
    free(m->in.p);
    free(m->out.p);
    free(m);
}

static int append(struct mbox *m, const void *msg, size_t n)
{
    size_t need = sizeof n + ((n + 7) & ~(size_t)7);
    struct vec *v = &m->in;
    if (n > m->max_bytes || need > m->max_bytes || v->n > m->max_bytes - need)
        return ST_FULL;
    if (v->n + need > v->cap) {
        size_t cap = v->cap * 2 > v->n + need ? v->cap * 2 : v->n + need;
        char *p = realloc(v->p, cap);
        if (!p)
            return ST_FULL;
        v->p = p;
        v->cap = cap;
    }
    memcpy(v->p + v->n, &n, sizeof n);
    memcpy(v->p + v->n + sizeof n, msg, n);
    v->n += need;
    m->n_in++;
    return 0;
}

int mbox_send(struct mbox *m, const void *msg, size_t n)
{
    pthread_mutex_lock(&m->lock);
    int was_empty = m->n_in == 0;
    int st = append(m, msg, n);
    if (st == 0 && was_empty)
        pthread_cond_signal(&m->some);
    pthread_mutex_unlock(&m->lock);
    if (st == 0 && was_empty && m->wake)
        m->wake(m->arg);
    return st;
}

int mbox_take(struct mbox *m)
{
    m->out.n = 0;
    m->at = 0;
    pthread_mutex_lock(&m->lock);
    struct vec v = m->in;
    int n = m->n_in;
    m->in = m->out;
    m->out = v;
    m->n_in = 0;
    pthread_mutex_unlock(&m->lock);
    return n;
}

/* All was read. What a backlog needed is not kept: getting it again costs less than filling it. */
static void shrink(struct mbox *m)
{
    struct vec *v = &m->out;
    char *p = v->cap > m->reserve ? realloc(v->p, m->reserve) : NULL;
    if (!p)
        return;
    v->p = p;
    v->cap = m->reserve;
    m->at = v->n = 0;
}

const void *mbox_next(struct mbox *m, size_t *n)
{
    if (m->at >= m->out.n) {
        shrink(m);
        return NULL;
    }
    size_t len;
    memcpy(&len, m->out.p + m->at, sizeof len);
    const void *msg = m->out.p + m->at + sizeof len;
    m->at += sizeof len + ((len + 7) & ~(size_t)7);
    if (n)
        *n = len;
    return msg;
}

int mbox_wait(struct mbox *m, int64_t timeout_us)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    if (timeout_us > 0) {
        ts.tv_sec += timeout_us / 1000000;
        ts.tv_nsec += timeout_us % 1000000 * 1000;
        if (ts.tv_nsec >= 1000000000) {
            ts.tv_sec++;
            ts.tv_nsec -= 1000000000;
        }
    }
    pthread_mutex_lock(&m->lock);
    int rc = 0;
    while (m->n_in == 0 && timeout_us != 0 && rc != ETIMEDOUT)
        rc = timeout_us < 0 ? pthread_cond_wait(&m->some, &m->lock)
                            : pthread_cond_timedwait(&m->some, &m->lock, &ts);
    int some = m->n_in != 0;
    pthread_mutex_unlock(&m->lock);
    return some;
}
