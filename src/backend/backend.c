/* backend.c - what is common to the devices: opening by kind, the seal, the memory ledger.
 *
 * Engine thread, or the loader thread before the seal. Owns the ledger; device memory belongs to
 * the device body. Invariant: nothing is allocated after be_seal.
 */
#include "backend.h"

#include "calls.h"
#include "log.h"
#include "mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LEDGER = 64, LEDGER_NAME = 48 };

struct be_ledger {
    struct {
        char what[LEDGER_NAME];
        size_t bytes;
        int n;
    } line[MAX_LEDGER];
    int n;
    int sealed;
};

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
    be->ledger = xalloc(sizeof *be->ledger);
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

void be_close(struct be *be)
{
    if (!be)
        return;
    be->call->close(be);
    free(be->ledger);
    free(be);
}

/* Entries are merged by the part of the name before the first '.', so that the weights of a hundred
 * layers are one line; the last line takes whatever does not fit the table. */
static void ledger_add(struct be_ledger *l, const char *what, size_t bytes)
{
    char name[LEDGER_NAME];
    size_t len = strcspn(what, ".");
    len = len < sizeof name - 1 ? len : sizeof name - 1;
    memcpy(name, what, len);
    name[len] = '\0';
    int i = 0;
    while (i < l->n && strcmp(l->line[i].what, name) != 0)
        i++;
    if (i == l->n && l->n == MAX_LEDGER)
        i = MAX_LEDGER - 1;
    if (i == l->n)
        memcpy(l->line[l->n++].what, name, len + 1);
    l->line[i].bytes += bytes;
    l->line[i].n++;
}

static size_t ledger_print(const struct be_ledger *l)
{
    size_t sum = 0;
    for (int i = 0; i < l->n; i++) {
        log_info("memory", "what=\"%s\" mib=%.1f pieces=%d", l->line[i].what,
                 (double)l->line[i].bytes / 1048576.0, l->line[i].n);
        sum += l->line[i].bytes;
    }
    return sum;
}

static void *take(struct be *be, const char *what, size_t bytes, int host)
{
    if (be->ledger->sealed) {
        log_error("backend_alloc", "what=%s bytes=%zu after=seal", what, bytes);
        return NULL;
    }
    if (fault_point("be_alloc"))
        return NULL;
    void *p = host ? be->call->alloc_host(be, bytes) : be->call->alloc(be, bytes);
    if (!p) {
        ledger_print(be->ledger); /* what had been taken until then */
        log_error("memory_exhausted", "what=\"%s\" mib=%.1f place=%s left_mib=%.1f device=\"%s\"",
                  what, (double)bytes / 1048576.0, host ? "host" : "device",
                  (double)be->info.memory_free / 1048576.0, be->info.name);
        return NULL;
    }
    ledger_add(be->ledger, what, bytes);
    if (!host)
        be->info.memory_free -= (int64_t)bytes;
    return p;
}

void *be_alloc(struct be *be, const char *what, size_t bytes)
{
    return take(be, what, bytes, 0);
}

void *be_alloc_host(struct be *be, const char *what, size_t bytes)
{
    return take(be, what, bytes, 1);
}

int be_no_room(struct be *be, const char *what, size_t bytes, const char *would, struct err *e)
{
    const struct be_ledger *l = be->ledger;
    char taken[256] = "nothing";
    size_t at = 0;
    for (int i = 0; i < l->n && at < sizeof taken - 1; i++) {
        int n = snprintf(taken + at, sizeof taken - at, "%s%s %.1f", i ? ", " : "", l->line[i].what,
                         (double)l->line[i].bytes / 1048576.0);
        at += n > 0 ? (size_t)n : 0;
    }
    return err_set(e, ST_NOMEM,
                   "out of memory: %s needs %.1f MiB, %.1f MiB are left on %s beside (MiB) %s%s%s",
                   what, (double)bytes / 1048576.0, (double)be->info.memory_free / 1048576.0,
                   be->info.name, taken, would ? "; " : "", would ? would : "");
}

void be_seal(struct be *be)
{
    struct be_ledger *l = be->ledger;
    size_t sum = ledger_print(l);
    log_info("memory", "what=total mib=%.1f device=\"%s\"", (double)sum / 1048576.0, be->info.name);
    l->sealed = 1;
    if (be->call->seal)
        be->call->seal(be);
}

int be_load_matrix(struct be *be, const char *what, const struct be_weight_part *parts, int n_parts,
                   int64_t n_in, int32_t dt, int gemm_operand, void **out, struct err *e)
{
    *out = NULL;
    if (n_parts < 1 || n_in < 1 || dt < 0 || dt >= N_DTYPES)
        return err_set(e, ST_INVALID_VALUE, "%s: no matrix", what);
    return be->call->load_matrix(be, what, parts, n_parts, n_in, dt, gemm_operand, out, e);
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

size_t be_attn_work_bytes(struct be *be, int32_t max_rows, int32_t max_tokens, int32_t n_heads,
                          int32_t head_dim)
{
    return be->call->attn_work_bytes(be, max_rows, max_tokens, n_heads, head_dim);
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

int be_graph_begin(struct be *be, uint64_t key)
{
    return be->info.graphs ? be->call->graph_begin(be, key) : 0;
}

int be_graph_end(struct be *be, uint64_t key)
{
    return be->info.graphs ? be->call->graph_end(be, key) : 0;
}
