/* SPDX-License-Identifier: Apache-2.0 */
/* lane_thread.h - an executor of the hash model whose steps run on a thread of its own. Nothing but
 * submit and wait orders two of them, so that under TSan a page, a row or a step that one lane
 * touches while the other uses it is a race. Functions in a header, for the tests of this folder.
 */
#ifndef QUIRE_TEST_LANE_THREAD_H
#define QUIRE_TEST_LANE_THREAD_H

#include "hash_model.h"

#include <pthread.h>
#include <unistd.h>

struct lane_thread {
    struct executor inner; /* of a hash model by hand */
    pthread_t thread;
    pthread_mutex_t mu;
    pthread_cond_t cond;
    int queue[MAX_INFLIGHT], n, done[MAX_INFLIGHT], stop;
    unsigned step_us; /* at most; how long differs from step to step */
};

static inline void *lane_thread_main(void *arg)
{
    struct lane_thread *t = arg;
    uint64_t rng = (uint64_t)t->step_us;
    pthread_mutex_lock(&t->mu);
    for (;;) {
        while (t->n == 0 && !t->stop)
            pthread_cond_wait(&t->cond, &t->mu);
        if (t->n == 0)
            break;
        int slot = t->queue[0];
        pthread_mutex_unlock(&t->mu);
        rng = hm_mix(rng, 1);
        if (t->step_us > 0)
            usleep((unsigned)(rng >> 20) % t->step_us);
        hm_run(t->inner.self, slot);
        pthread_mutex_lock(&t->mu);
        t->queue[0] = t->queue[1];
        t->n--;
        t->done[slot] = 1;
        pthread_cond_broadcast(&t->cond);
    }
    pthread_mutex_unlock(&t->mu);
    return NULL;
}

static inline int lane_thread_submit(void *self, int slot, const struct step *s)
{
    struct lane_thread *t = self;
    int st = t->inner.submit(t->inner.self, slot, s);
    if (st != 0)
        return st;
    pthread_mutex_lock(&t->mu);
    t->done[slot] = 0;
    t->queue[t->n++] = slot;
    pthread_cond_broadcast(&t->cond);
    pthread_mutex_unlock(&t->mu);
    return 0;
}

static inline int lane_thread_wait(void *self, int slot, struct step_result *r)
{
    struct lane_thread *t = self;
    pthread_mutex_lock(&t->mu);
    while (!t->done[slot])
        pthread_cond_wait(&t->cond, &t->mu);
    pthread_mutex_unlock(&t->mu);
    return t->inner.wait(t->inner.self, slot, r);
}

static inline int lane_thread_ready(void *self, int slot)
{
    struct lane_thread *t = self;
    pthread_mutex_lock(&t->mu);
    int done = t->done[slot];
    pthread_mutex_unlock(&t->mu);
    return done;
}

/* *ex runs on a thread of its own from here on. */
static inline void lane_thread_open(struct lane_thread *t, struct executor *ex, unsigned step_us)
{
    *t = (struct lane_thread){.inner = *ex, .step_us = step_us};
    pthread_mutex_init(&t->mu, NULL);
    pthread_cond_init(&t->cond, NULL);
    ex->self = t;
    ex->submit = lane_thread_submit;
    ex->wait = lane_thread_wait;
    ex->ready = lane_thread_ready;
    ex->hidden = NULL;
    ex->hidden_dim = 0;
    pthread_create(&t->thread, NULL, lane_thread_main, t);
}

/* What was submitted runs to its end; before the engine and the model are freed. */
static inline void lane_thread_close(struct lane_thread *t)
{
    pthread_mutex_lock(&t->mu);
    t->stop = 1;
    pthread_cond_broadcast(&t->cond);
    pthread_mutex_unlock(&t->mu);
    pthread_join(t->thread, NULL);
    pthread_mutex_destroy(&t->mu);
    pthread_cond_destroy(&t->cond);
}

#endif
