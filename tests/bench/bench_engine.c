/* SPDX-License-Identifier: Apache-2.0 */
/* bench_engine.c - what the engine costs on the host: one turn (drain, commit, plan, pack, submit,
 * post) against an executor that does nothing, at 1, 64 and 256 decoding rows, two steps in flight;
 * then 256 rows in the decode lane of two.
 *   bench_engine [turns]
 */
#include "clock.h"
#include "engine_fixture.h"
#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PAGE = 16, LEN = 4096, PROMPT = 512 };

static const struct step *flying[MAX_LANES][MAX_INFLIGHT];

static int null_submit(void *self, int slot, const struct step *s)
{
    const struct step **of = self;
    of[slot] = s;
    return 0;
}

/* As little work as the contract allows: the figure is the engine's. */
static int null_wait(void *self, int slot, struct step_result *r)
{
    const struct step *const *of = self;
    const struct step *s = of[slot];
    int32_t k = 0;
    for (int32_t i = 0; i < s->n_rows; i++) {
        int32_t n = s->rows[i].want == STEP_WANT_SAMPLE;
        r->row[i].first = k;
        r->row[i].n = n;
        r->token[k] = (token_id)((s->rows[i].first * 31 + i) % 1000);
        r->n_top[k] = 0;
        k += n;
    }
    r->n_rows = s->n_rows;
    r->n = k;
    return 0;
}

static int null_ready(void *self, int slot)
{
    (void)self;
    (void)slot;
    return 0;
}

/* Of two lanes one is asked until its step is done. */
static int null_done(void *self, int slot)
{
    (void)self;
    (void)slot;
    return 1;
}

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void submit(struct engine *en, int i)
{
    struct {
        struct msg_submit m;
        token_id tok[PROMPT];
    } q = {.m = {.h = {.kind = MSG_SUBMIT},
                 .id = (req_id)i + 1,
                 .arrival_us = clock_us(),
                 .n_prompt = PROMPT,
                 .max_new = LEN - PROMPT,
                 .ignore_eos = 1,
                 .params = {.n_logprobs = -1}}};
    for (int k = 0; k < PROMPT; k++)
        q.tok[k] = k < 64 ? k : (k * 7 + i * 13) % 1000;
    if (engine_submit(en, &q.m) != 0)
        abort();
}

static void bench(int rows, int lanes, int turns)
{
    struct engine_fixture x = engine_fixture();
    x.f.n_pages = rows * (LEN / PAGE) + 64;
    x.f.max_model_len = LEN;
    x.f.audit_every = 0;
    x.f.weight_tokens = 120000; /* as 8B has: the load of each decode step is added up */
    x.f.n_lanes = lanes;
    x.f.n_eos = 1;
    x.f.eos[0] = 999;
    x.c.kv.page_tokens = PAGE;
    x.c.scheduler.max_seqs = rows;
    x.c.scheduler.max_step_tokens = 8192;
    x.c.limits.queue_size = 16;
    struct executor ex[MAX_LANES];
    for (int l = 0; l < lanes; l++)
        ex[l] = (struct executor){.self = flying[l],
                                  .submit = null_submit,
                                  .wait = null_wait,
                                  .ready = lanes > 1 ? null_done : null_ready,
                                  .n_shares = lanes > 1 ? 15 : 0};
    struct mbox *out = mbox_new(1 << 20, 1 << 24, NULL, NULL);
    struct engine *en = engine_fixture_new(&x, ex, out);
    for (int i = 0; i < rows; i++)
        submit(en, i);
    for (int i = 0; i < rows * PROMPT / 8192 + 64; i++) { /* prompts, and first pages touched */
        engine_turn(en);
        mbox_take(out);
    }
    int64_t *t = xcalloc2((size_t)turns, sizeof *t), n_rec = 0;
    for (int i = 0; i < turns; i++) {
        int64_t t0 = now_ns();
        engine_turn(en);
        t[i] = now_ns() - t0;
        mbox_take(out);
        for (const struct msg_outbox *m; (m = mbox_next(out, NULL)) != NULL;)
            n_rec += m->n_rec;
    }
    qsort(t, (size_t)turns, sizeof *t, by_value);
    int64_t median = t[turns / 2], p99 = t[turns * 99 / 100];
    printf("%4d decode rows, lanes %d: median %6.1f us  p99 %6.1f us per step (%d steps)\n", rows,
           lanes, (double)median / 1000, (double)p99 / 1000, turns);
    if (n_rec != (int64_t)rows * turns)
        printf("  only %.1f tokens per step: not what was meant to be measured\n",
               (double)n_rec / turns);
    free(t);
    engine_free(en);
    mbox_free(out);
}

int main(int argc, char **argv)
{
    int turns = argc > 1 ? atoi(argv[1]) : 2000;
    if (turns < 1 || turns > LEN - PROMPT - 200) {
        fprintf(stderr, "usage: bench_engine [turns, 1..%d]\n", LEN - PROMPT - 200);
        return 2;
    }
    bench(1, 1, turns);
    bench(64, 1, turns);
    bench(256, 1, turns);
    bench(256, 2, turns);
    return 0;
}
