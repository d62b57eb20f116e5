/* step.h - the plain-data plan of one pass, and its result.
 *
 * Written by the engine, read by ranks; no pointers, so it can be sent, stored and replayed. The
 * order inside a step is fixed (K7): table edits, copies out, copies in, page copies, then compute.
 */
#ifndef QUIRE_STEP_H
#define QUIRE_STEP_H

#include "ids.h"

#include <stdint.h>

enum {
    STEP_VERSION = 1,
    MAX_ROWS = 1024,         /* seqs in one step; scheduler.max_seqs is at most this */
    MAX_STEP_TOKENS = 16384, /* scheduler.max_step_tokens is at most this */
    MAX_EDITS = 65536,       /* page-table entries changed in one step */
    MAX_COPIES = 4096,       /* page copies of each sort in one step */
    MAX_LOGPROBS = 20,
    MAX_INFLIGHT = 2,
    TOKEN_FROM_ROW = -1 /* tokens[i]: the token this row sampled last, still on the device */
};

enum step_kind { STEP_DECODE, STEP_PREFILL };

/* How to draw one token. Randomness is a pure function of (seed, position of the drawn token), so
 * neither batching nor preemption changes a result. */
struct sample_params {
    float temperature; /* < 1e-5 = greedy */
    float top_p;       /* 1 = off; 0 keeps exactly the best token */
    float min_p;       /* 0 = off; relative to the best token's probability */
    int32_t top_k;     /* 0 = off */
    uint64_t seed;
    int32_t n_logprobs; /* -1 = none, 0 = of the sampled token only, k = also the k best (<= 20) */
    int32_t pad;
};

struct step_row {
    row_id row;     /* which row of the device tables */
    int32_t first;  /* position (in the sequence) of the first token of the chunk */
    int32_t n;      /* tokens in the chunk; decode: 1 */
    int32_t sample; /* 1: sample after the last token of the chunk; see sample[i] */
    int32_t token0; /* index of the chunk's first token in tokens[] */
};
struct page_edit {
    row_id row;
    int32_t index; /* logical page number in the row's page table */
    page_id page;
};
struct page_copy {
    page_id src, dst;
};

/* rows[i], sample[i] and results are indexed alike, i < n_rows. Rows of a step are distinct. */
struct step {
    uint32_t version;
    uint32_t kind;
    uint64_t seq_no; /* steps count from 1 */
    int32_t n_rows, n_tokens, n_edits, n_out, n_in, n_copy;
    struct step_row rows[MAX_ROWS];
    struct sample_params sample[MAX_ROWS];
    token_id tokens[MAX_STEP_TOKENS];
    struct page_edit edits[MAX_EDITS];
    struct page_copy out[MAX_COPIES], in[MAX_COPIES]; /* spills, restores (later tiers) */
    struct page_copy copy[MAX_COPIES]; /* whole pages, device to device: the head of a partial hit.
                                          No dst is a src or another dst of the same step. */
};

struct token_logprob {
    token_id token;
    float logprob; /* natural log softmax of the raw logits */
};
struct step_result {
    int32_t n_rows;
    token_id token[MAX_ROWS]; /* sampled token; -1 where sample == 0 */
    float logprob[MAX_ROWS];  /* of token[i]; valid if n_logprobs >= 0 */
    int32_t n_top[MAX_ROWS];  /* entries of top[i], best first */
    struct token_logprob top[MAX_ROWS][MAX_LOGPROBS];
};

/* What the engine sees of whoever executes steps (a model on a backend, or the hash model of the
 * tests). Engine thread only. Steps run in submission order; at most MAX_INFLIGHT are in flight and
 * the engine alternates slot = 0, 1, 0, ... A slot's step must stay untouched until its wait. */
struct executor {
    void *self;
    /* Enqueue s as slot. 0; ST_DEVICE_RETRY: nothing ran, the same step may be submitted again;
     * ST_INTERNAL: refused, the requests in it end, the device lives on; anything else, ST_DEVICE
     * first of all, ends the engine. */
    int (*submit)(void *self, int slot, const struct step *s);
    /* Block until slot is done and fill *r (only rows < n_rows). 0 or ST_DEVICE*. */
    int (*wait)(void *self, int slot, struct step_result *r);
    /* 1 if wait(slot) would return at once. */
    int (*ready)(void *self, int slot);
};

#endif
