/* SPDX-License-Identifier: Apache-2.0 */
/* step.h - the plain-data plan of one pass, and its result.
 *
 * Written by the engine, read by ranks; no pointers, so it can be sent, stored and replayed.
 *   K7  The order inside a step is fixed: table edits, copies out, copies in, page copies, then
 *       compute.
 * An executor checks every bound and refuses by name what it cannot do; the engine plans only what
 * its executor can.
 */
#ifndef QUIRE_STEP_H
#define QUIRE_STEP_H

#include "ids.h"

#include <stdint.h>

enum {
    STEP_VERSION = 2,
    MAX_ROWS = 1024,         /* seqs in one step; scheduler.max_seqs is at most this */
    MAX_STEP_TOKENS = 16384, /* scheduler.max_step_tokens is at most this */
    MAX_EDITS = 65536,       /* page-table entries changed in one step */
    MAX_COPIES = 4096,       /* page copies of each sort in one step */
    MAX_RESULTS = 4096,      /* tokens that one step gives back */
    MAX_AREA = 1 << 18,      /* words of a step's area: 1 MiB, 64 masks of 128k tokens */
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

/* What a row asks for, drawn by sample[i]. Rows that ask for tokens give at least one. */
enum step_want {
    STEP_WANT_NONE,
    STEP_WANT_SAMPLE, /* one token, after the last of the chunk */
    STEP_WANT_VERIFY, /* the chunk's last n_verify tokens are drafts: those that the draws before
                         them repeat, then the first draw that differs or comes after the last;
                         1 .. n_verify + 1 tokens */
    STEP_WANT_HIDDEN, /* the hidden state after the last token of the chunk; no tokens */
    N_STEP_WANTS
};

/* Variable-length inputs of a row: area[area0, area0 + n_area) holds records one after the other,
 * each a word `kind | n << 8` and n words:
 *   STEP_AREA_BIAS    pairs of token and f32 bits, added to the logits
 *   STEP_AREA_MASK    one bit a token, token 0 the lowest bit of the first word; 1 = allowed
 *   STEP_AREA_COUNTS  pairs of token and how often it occurred, for penalties
 * A kind at most once a row, applied in the order counts, bias, mask. Rows may share an area. */
enum step_area { STEP_AREA_BIAS = 1, STEP_AREA_MASK, STEP_AREA_COUNTS };

struct step_row {
    row_id row;            /* which row of the device tables */
    int32_t first;         /* position (in the sequence) of the first token of the chunk */
    int32_t n;             /* tokens in the chunk; decode: 1 */
    int32_t token0;        /* index of the chunk's first token in tokens[] */
    int32_t want;          /* enum step_want */
    int32_t n_verify;      /* STEP_WANT_VERIFY: 1 .. n - 1; else 0 */
    int32_t area0, n_area; /* words of area[]; 0 = nothing */
};
struct page_edit {
    row_id row;
    int32_t index; /* logical page number in the row's page table */
    page_id page;
};
struct page_copy {
    page_id src, dst;
};

/* rows[i], sample[i] and the result's row[i] are indexed alike, i < n_rows. Rows of a step are
 * distinct. */
struct step {
    uint32_t version;
    uint32_t kind;
    uint64_t seq_no; /* steps count from 1 */
    int32_t n_rows, n_tokens, n_edits, n_out, n_in, n_copy;
    int32_t n_area; /* words used of area[] */
    struct step_row rows[MAX_ROWS];
    struct sample_params sample[MAX_ROWS];
    token_id tokens[MAX_STEP_TOKENS];
    struct page_edit edits[MAX_EDITS];
    struct page_copy out[MAX_COPIES], in[MAX_COPIES]; /* spills, restores (later tiers) */
    struct page_copy copy[MAX_COPIES]; /* whole pages, device to device: the head of a partial hit.
                                          No dst is a src or another dst of the same step. */
    uint32_t area[MAX_AREA];           /* see enum step_area */
};

struct token_logprob {
    token_id token;
    float logprob; /* natural log softmax of the raw logits */
};
/* Tokens lie one row after the other, in the order of the step's rows. */
struct step_result {
    int32_t n_rows;
    int32_t n; /* tokens of all rows */
    struct {
        int32_t first, n; /* token[first, first + n) are this row's */
    } row[MAX_ROWS];
    token_id token[MAX_RESULTS];
    float logprob[MAX_RESULTS]; /* of token[k]; valid if the row's n_logprobs >= 0 */
    int32_t n_top[MAX_RESULTS]; /* entries of top[k], best first */
    struct token_logprob top[MAX_RESULTS][MAX_LOGPROBS];
};

/* For executors, row by row from 0: room for n tokens of row i. Returns the index of the first. */
static inline int32_t step_result_add(struct step_result *r, int32_t i, int32_t n)
{
    int32_t first = i == 0 ? 0 : r->n;
    r->row[i].first = first;
    r->row[i].n = n;
    r->n_rows = i + 1;
    r->n = first + n;
    return first;
}

/* What the engine sees of whoever executes steps (a model on a backend, or the hash model of the
 * tests). Engine thread only. Steps run in submission order; at most MAX_INFLIGHT are in flight and
 * the engine alternates slot = 0, 1, 0, ... A slot's step must stay untouched until its wait. */
struct executor {
    void *self;
    /* Enqueue s as slot. 0; ST_DEVICE_RETRY: nothing ran, the same step may be submitted again;
     * ST_INTERNAL: refused, the requests in it end, the device lives on; anything else, ST_DEVICE
     * first of all, ends the engine. */
    int (*submit)(void *self, int slot, const struct step *s);
    /* Block until slot is done and fill *r: row[i] for each row, the tokens they asked for. 0 or
     * ST_DEVICE*. */
    int (*wait)(void *self, int slot, struct step_result *r);
    /* 1 if wait(slot) would return at once. */
    int (*ready)(void *self, int slot);
};

#endif
