/* SPDX-License-Identifier: Apache-2.0 */
/* backend.h - a device: memory, ops, ordering. CPU and CUDA bodies behind one struct.
 *
 * All calls from the engine thread, except during loading (one loader thread at a time, plus the
 * backend's own helpers). Device memory is allocated only before be_seal.
 */
#ifndef QUIRE_BACKEND_H
#define QUIRE_BACKEND_H

#include "ops.h"
#include "status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum be_kind { BE_CPU, BE_CUDA };

struct be_config {
    int32_t kind;    /* enum be_kind */
    int32_t threads; /* cpu: worker threads, 0 = all cores */
    int32_t index;   /* cuda: device */
    double memory_utilization;
    int32_t graphs; /* 0 off, 1 lazy, 2 at start */
};

/* What the rest needs to know of a device. */
struct be_info {
    int32_t kind;
    char name[64];
    int64_t memory_free;              /* bytes usable; CPU: RAM */
    int32_t act_dt, weight_dt, kv_dt; /* the storage types this backend prefers (auto) */
    int32_t graphs; /* 1: be_graph_* record; decode steps are then padded to row buckets */
    /* Of a device with a lane, and of the lane: ways to split the processors between them,
     * 1 .. n_shares by growing part of the lane, which may begin with
     * "as it comes"; 0 where they cannot be split. */
    int32_t n_shares;
};

struct be_calls;  /* what a device body implements: backend/calls.h */
struct be_ledger; /* who took how much: backend/ledger.c */
struct be {
    const struct op_table *op;
    const struct be_calls *call;
    struct be_ledger *ledger;
    struct be *root;     /* of a lane: whose lane it is; else NULL */
    struct be_info info; /* memory_free shrinks as be_alloc takes; a lane's is its root's */
    void *priv;
};

/* 1 when this program contains the CUDA backend (whether or not there is a GPU). */
int be_has_cuda(void);

/* 0 and *out, or ST_* with a text that says why: ST_DEVICE where BE_CUDA is not compiled in, or
 * there is no driver, no GPU, no cuBLASLt, an older GPU than the kernels need. Nothing is left
 * behind then, so that the caller may go on with BE_CPU. */
int be_open(struct be **out, const struct be_config *c, struct err *e);
void be_close(struct be *be);

/* A lane: a second ordered queue on the device of `be`, with marks, graphs and scratch of its own.
 * What the two enqueue runs side by side, in no order between them; memory is common, and what a
 * lane allocates is its root's. One lane a device, opened before be_seal, closed before its root,
 * and used from any one thread at a time. 0 and *out, or ST_* with a text. */
int be_open_lane(struct be **out, struct be *be, struct err *e);
/* What is enqueued from now on runs on the whole device (0) or on this one's part of the share'th
 * split (1 .. info.n_shares), after all that was enqueued before. Engine thread. */
int be_set_share(struct be *be, int32_t share);

/* Aligned to 256 bytes, zeroed. NULL when it does not fit; `what` names the ledger line. */
void *be_alloc(struct be *be, const char *what, size_t bytes);
/* Host memory that copies to and from the device may run on asynchronously (pinned on CUDA),
 * zeroed, aligned to 64 bytes, released by be_close. Before be_seal only. NULL when exhausted. */
void *be_alloc_host(struct be *be, const char *what, size_t bytes);
/* ST_NOMEM with a text: what did not fit, what is left beside what, and `would` (may be NULL): what
 * would fit. */
int be_no_room(struct be *be, const char *what, size_t bytes, const char *would, struct err *e);
/* Print the ledger (one log line per entry) and forbid further allocation. */
void be_seal(struct be *be);

/* A weight matrix comes in pieces stacked along n_out, so that matrices can be fused. fill() writes
 * n_rows rows of its piece, starting at row0, into dst (host staging), so that dequantisation can
 * stream; it is called for disjoint rows from several threads at once, and may be called again for
 * the same rows. */
struct be_weight_part {
    int64_t n_rows;
    void *arg;
    int (*fill)(void *arg, int64_t row0, int64_t n_rows, void *dst); /* dst [n_rows, n_in] of dt */
    /* Optional, with code: the rows as codes, one a byte, and for every `group` columns a scale and
     * an offset; what fill() writes as f32 is what enum wcode says they stand for, rounded once (up
     * to the sign of a zero). group_out rows of the piece share the scales of group_in columns. A
     * backend that can keep such codes may take them instead, by its own `group` (a part of
     * group_in, 16 at least): codes [n_rows, n_in], scale and offset [n_rows, n_in / group]. One
     * that cannot calls fill(). */
    int (*fill_codes)(void *arg, int64_t row0, int64_t n_rows, int32_t group, uint8_t *codes,
                      float *scale, float *offset);
    int32_t code, group_in, group_out;
};
struct be_matrix_spec {
    const char *what; /* names it in the ledger and in messages */
    const struct be_weight_part *parts;
    int32_t n_parts;
    int32_t dt; /* enum dtype of the values */
    int64_t n_in;
    bool gemm_operand; /* false: row-major of dt, for op_embed or any other reader; not op_gemm */
};
/* Fills *out, whose data is the backend's (released by be_close). The CPU repacks gemm operands;
 * CUDA uploads. On an error *out is zeroed. */
int be_load_matrix(struct be *be, const struct be_matrix_spec *s, struct matrix *out,
                   struct err *e);

/* Host <-> device copies in stream order; synchronous variants for loading and tests. */
int be_upload(struct be *be, void *dst, const void *src, size_t bytes);
int be_download(struct be *be, void *dst, const void *src, size_t bytes);
int be_sync(struct be *be);

/* Scratch needed by attention and sampling for these bounds. Sampling's begins with room for
 * max_rows * vocab f32, where op_adjust may write what op_sample then reads. */
size_t be_attn_work_bytes(struct be *be, int32_t max_rows, int32_t n_heads, int32_t head_dim);
size_t be_sample_work_bytes(struct be *be, int32_t max_rows, int32_t vocab);

/* One step in flight: mark its end and wait for it. slot < MAX_INFLIGHT. CPU: no-ops. */
int be_mark(struct be *be, int slot);
int be_wait(struct be *be, int slot);
int be_ready(struct be *be, int slot);

/* Between begin and end every product of a size not met yet (gemm_bucket) is measured in all the
 * ways that the device's library offers, and the fastest is kept for this size. `cache`: a file
 * with the choices of earlier starts, which saves measuring them; it is written at the end, and
 * ignored where it is another card's, driver's or library's. The operands' values do not matter,
 * `out` is undefined afterwards. A lane has its root's choices. begin returns 0, 1 where there is
 * nothing to choose or no room to measure, or ST_*. Loader thread, after be_seal. */
int be_tune_begin(struct be *be, const char *cache);
void be_tune_end(struct be *be);

/* Recorded decode steps. be_graph_begin returns 1 when the work recorded under `key` was enqueued
 * (the caller then skips enqueueing it), 0 when the caller must enqueue it now and call
 * be_graph_end with the same key: the first time that records and launches, from then on it
 * replays. All arguments of the recorded ops must be a function of the key alone: fixed addresses,
 * counts of the bucket (struct batch: n_rows, n_tokens, max_kv are rounded up by the executor;
 * kernels skip padding rows by row_new == 0 and read true lengths on the device). Where info.graphs
 * is 0, begin returns 0 and end does nothing. Negative: ST_DEVICE*. Engine thread. */
int be_graph_begin(struct be *be, uint64_t key);
int be_graph_end(struct be *be, uint64_t key);
/* While on, a key is recorded the first time and nothing of it is enqueued: for many recordings at
 * start, once every kernel and every product of them has run before. Loader thread. */
void be_graph_only_record(struct be *be, bool on);

#endif
