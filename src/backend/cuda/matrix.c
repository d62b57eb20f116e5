/* SPDX-License-Identifier: Apache-2.0 */
/* matrix.c - weights into device memory: file or generator -> pinned staging -> asynchronous copy.
 *
 * Loader thread and, while a stage is filled, a few threads of its own: fill() of be_weight_part is
 * called for disjoint rows at the same time. Two stages alternate, so that filling one overlaps the
 * copy of the other; the seal frees them. Matrices stay row-major: that is what cuBLASLt, the GEMV
 * kernels and op_embed read.
 */
#include "matrix.h"

#include "mem.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { STAGE_BYTES = 32 << 20, MAX_FILLERS = 8, FILL_GRAIN = 1 << 20 };

struct fill_job {
    const struct be_weight_part *parts;
    int n_parts, st;
    int64_t row0, n_rows; /* of the stacked matrix */
    size_t row_bytes;
    char *dst;
};

static void *fill_rows(void *arg)
{
    struct fill_job *j = arg;
    int64_t row0 = j->row0, n = j->n_rows;
    char *dst = j->dst;
    for (int i = 0; i < j->n_parts && n > 0; i++) {
        const struct be_weight_part *p = &j->parts[i];
        if (row0 >= p->n_rows) {
            row0 -= p->n_rows;
            continue;
        }
        int64_t k = p->n_rows - row0 < n ? p->n_rows - row0 : n;
        j->st = p->fill(p->arg, row0, k, dst);
        if (j->st != 0)
            return NULL;
        dst += (size_t)k * j->row_bytes;
        n -= k;
        row0 = 0;
    }
    return NULL;
}

static int n_fillers(int64_t rows, size_t row_bytes)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    int64_t useful = (int64_t)((size_t)rows * row_bytes / FILL_GRAIN) + 1;
    n = n < 1 ? 1 : n > MAX_FILLERS ? MAX_FILLERS : n;
    n = n > useful ? (long)useful : n;
    return (int)(n > rows ? rows : n);
}

/* Fill one stage with rows [row0, row0 + rows), cut among threads; a thread that cannot be started
 * leaves its share to the caller. */
static int fill_stage(const struct fill_job *all)
{
    struct fill_job job[MAX_FILLERS];
    pthread_t thread[MAX_FILLERS];
    int started[MAX_FILLERS] = {0}, n = n_fillers(all->n_rows, all->row_bytes), st = 0;
    for (int i = 0; i < n; i++) {
        int64_t from = all->n_rows * i / n, to = all->n_rows * (i + 1) / n;
        job[i] = *all;
        job[i].row0 = all->row0 + from;
        job[i].n_rows = to - from;
        job[i].dst = all->dst + (size_t)from * all->row_bytes;
        if (i > 0)
            started[i] = pthread_create(&thread[i], NULL, fill_rows, &job[i]) == 0;
    }
    for (int i = 0; i < n; i++)
        if (!started[i])
            fill_rows(&job[i]);
    for (int i = 0; i < n; i++) {
        if (started[i])
            pthread_join(thread[i], NULL);
        st = st != 0 ? st : job[i].st;
    }
    return st;
}

static int stage_open(struct cuda_be *c)
{
    for (int i = 0; i < 2; i++) {
        if (c->stage[i])
            continue;
        int st = cuda_result(c, c->rt->host_alloc(&c->stage[i], STAGE_BYTES, cudaHostAllocPortable),
                             "staging");
        if (st == 0)
            st = cuda_result(c, c->rt->event_create(&c->stage_done[i], cudaEventDisableTiming),
                             "event");
        if (st != 0)
            return st;
    }
    return 0;
}

void cuda_stage_close(struct cuda_be *c)
{
    for (int i = 0; i < 2; i++) {
        if (c->stage_done[i]) {
            cuda_result(c, c->rt->event_sync(c->stage_done[i]), "event synchronize");
            c->rt->event_destroy(c->stage_done[i]);
        }
        if (c->stage[i])
            c->rt->host_free(c->stage[i]);
        c->stage[i] = NULL;
        c->stage_done[i] = NULL;
    }
}

static int send(struct cuda_be *c, struct fill_job *j, int64_t n_rows, char *dst, const char *what,
                struct err *e)
{
    int64_t per_stage = (int64_t)(STAGE_BYTES / j->row_bytes);
    int side = 0;
    for (int64_t r = 0; r < n_rows; r += per_stage, side ^= 1) {
        int st = cuda_result(c, c->rt->event_sync(c->stage_done[side]), "event synchronize");
        if (st != 0)
            return err_set(e, st, "%s: copying to the device failed", what);
        j->row0 = r;
        j->n_rows = n_rows - r < per_stage ? n_rows - r : per_stage;
        j->dst = c->stage[side];
        st = fill_stage(j);
        if (st != 0)
            return err_set(e, st, "%s: reading the weights failed: %s", what, st_text(st));
        st = cuda_result(c,
                         c->rt->memcpy_async(dst + (size_t)r * j->row_bytes, c->stage[side],
                                             (size_t)j->n_rows * j->row_bytes,
                                             cudaMemcpyHostToDevice, c->stream),
                         "memcpy");
        if (st == 0)
            st = cuda_result(c, c->rt->event_record(c->stage_done[side], c->stream), "record");
        if (st != 0)
            return err_set(e, st, "%s: copying to the device failed", what);
    }
    return 0;
}

int cuda_load_matrix(struct be *be, const struct be_matrix_spec *s, struct matrix *out,
                     struct err *e)
{
    struct cuda_be *c = cuda_of(be);
    size_t row_bytes = 0, bytes = 0;
    int64_t n_rows = 0;
    for (int i = 0; i < s->n_parts; i++)
        n_rows += s->parts[i].n_rows;
    if (n_rows <= 0 || !mul_size((size_t)s->n_in, dtype_size(s->dt), &row_bytes) ||
        row_bytes > STAGE_BYTES || !mul_size(row_bytes, (size_t)n_rows, &bytes))
        return err_set(e, ST_INVALID_VALUE, "%s: no matrix, or too large", s->what);
    int st = stage_open(c);
    if (st != 0)
        return err_set(e, st, "%s: no pinned host memory to load through", s->what);
    char *dst = be_alloc(be, s->what, bytes);
    if (!dst)
        return be_no_room(be, s->what, bytes, NULL, e);
    struct fill_job j = {.parts = s->parts, .n_parts = s->n_parts, .row_bytes = row_bytes};
    st = send(c, &j, n_rows, dst, s->what, e);
    if (st == 0)
        *out = (struct matrix){.data = dst, .n_out = n_rows, .n_in = s->n_in, .dt = s->dt};
    return st;
}
