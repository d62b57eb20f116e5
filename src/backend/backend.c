/* SPDX-License-Identifier: Apache-2.0 */
/* backend.c - devices behind one door: opening by kind, and every call on to the body.
 *
 * Engine thread, or the loader thread before the seal. Device memory belongs to the device body;
 * who took how much is the ledger's business (ledger.c).
 */
#include "backend.h"

#include "calls.h"
#include "ledger.h"
#include "mem.h"
#include "open.h"

#include <stdlib.h>

int be_has_cuda(void)
{
#ifdef QUIRE_CUDA
    return 1;
#else
    return 0;
#endif
}

int be_open(struct be **out, const struct be_config *c, struct err *e)
{
    *out = NULL;
    struct be *be = xalloc(sizeof *be);
    be->ledger = ledger_new();
    int st;
    if (c->kind == BE_CPU) {
        st = cpu_open(be, c, e);
    } else if (c->kind == BE_CUDA) {
#ifdef QUIRE_CUDA
        st = cuda_open(be, c, e);
#else
        st = err_set(e, ST_DEVICE, "this build has no CUDA backend (configure with QUIRE_CUDA=ON)");
#endif
    } else {
        st = err_set(e, ST_INVALID_VALUE, "unknown backend kind %d", (int)c->kind);
    }
    if (st != 0) {
        free(be->ledger);
        free(be);
        return st;
    }
    *out = be;
    return 0;
}

int be_open_lane(struct be **out, struct be *be, struct err *e)
{
    *out = NULL;
    if (be->root)
        return err_set(e, ST_INVALID_VALUE, "a lane has no lanes");
    struct be *lane = xalloc(sizeof *lane);
    lane->root = be;
    lane->ledger = be->ledger;
    int st = be->call->open_lane(lane, e);
    if (st != 0) {
        free(lane);
        return st;
    }
    *out = lane;
    return 0;
}

int be_set_share(struct be *be, int32_t share)
{
    if (share < 0 || share > be->info.n_shares)
        return ST_INVALID_VALUE;
    return be->call->set_share ? be->call->set_share(be, share) : 0;
}

void be_close(struct be *be)
{
    if (!be)
        return;
    be->call->close(be);
    if (!be->root)
        free(be->ledger);
    free(be);
}

int be_load_matrix(struct be *be, const struct be_matrix_spec *s, struct matrix *out, struct err *e)
{
    *out = (struct matrix){0};
    if (s->n_parts < 1 || s->n_in < 1 || s->dt < 0 || s->dt >= N_DTYPES)
        return err_set(e, ST_INVALID_VALUE, "%s: no matrix", s->what);
    return be->call->load_matrix(be, s, out, e);
}

int be_upload(struct be *be, void *dst, const void *src, size_t bytes)
{
    return be->call->upload(be, dst, src, bytes);
}

int be_download(struct be *be, void *dst, const void *src, size_t bytes)
{
    return be->call->download(be, dst, src, bytes);
}

int be_sync(struct be *be)
{
    return be->call->sync(be);
}

size_t be_attn_work_bytes(struct be *be, int32_t max_rows, int32_t n_heads, int32_t head_dim)
{
    return be->call->attn_work_bytes(be, max_rows, n_heads, head_dim);
}

size_t be_sample_work_bytes(struct be *be, int32_t max_rows, int32_t vocab)
{
    return be->call->sample_work_bytes(be, max_rows, vocab);
}

int be_mark(struct be *be, int slot)
{
    return be->call->mark(be, slot);
}

int be_wait(struct be *be, int slot)
{
    return be->call->wait(be, slot);
}

int be_ready(struct be *be, int slot)
{
    return be->call->ready(be, slot);
}

int be_tune_begin(struct be *be, const char *cache)
{
    return be->call->tune_begin ? be->call->tune_begin(be, cache) : 1;
}

void be_tune_end(struct be *be)
{
    if (be->call->tune_end)
        be->call->tune_end(be);
}

int be_graph_begin(struct be *be, uint64_t key)
{
    return be->info.graphs ? be->call->graph_begin(be, key) : 0;
}

int be_graph_end(struct be *be, uint64_t key)
{
    return be->info.graphs ? be->call->graph_end(be, key) : 0;
}

void be_graph_only_record(struct be *be, bool on)
{
    if (be->info.graphs)
        be->call->graph_only_record(be, on);
}
