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

#include <stdbool.h>
#include <stdint.h>

enum {
    STEP_VERSION = 5,
    MAX_ROWS = 4096,         /* seqs in one step; scheduler.max_seqs is at most this */
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
    /* Penalties, see op_adjust: finite, and a row that has one follows STEP_AREA_COUNTS. */
    float presence_penalty, frequency_penalty; /* 0 = off */
    float repetition_penalty;                  /* 1 = off, and so is 0; else > 0 */
};
static inline bool has_penalty(const struct sample_params *p)
{
    return p->presence_penalty != 0.0f || p->frequency_penalty != 0.0f ||
           (p->repetition_penalty != 1.0f && p->repetition_penalty != 0.0f);
}

/* What a row asks for, drawn by sample[i]. Rows that ask for tokens give at least one. */
enum step_want {
    STEP_WANT_NONE,
    STEP_WANT_SAMPLE, /* one token, after the last of the chunk */
    STEP_WANT_VERIFY, /* the chunk's last n_verify tokens are drafts: those that the draws before
                         them repeat, then the first draw that differs or comes after the last;
                         1 .. n_verify + 1 tokens */
    /* No tokens, prefill steps only; hidden states are those that the head reads, after the last
     * norm. */
    STEP_WANT_HIDDEN, /* the hidden state after the last token of the chunk */
    STEP_WANT_SUM,    /* those of the whole chunk, added to the row's sum, which a chunk at position
                         0 begins anew; gives nothing back */
    STEP_WANT_MEAN,   /* the same, and the mean over positions 0 .. first + n - 1: all chunks of the
                         row before this one were STEP_WANT_SUM, none came from the prefix cache */
    N_STEP_WANTS
};

/* Variable-length inputs of a row that draws a token: area[area0, area0 + n_area) holds records one
 * after the other, each a word `kind | n << 8` and n words:
 *   STEP_AREA_BIAS    pairs of token and f32 bits, added to the logits; no NaN, less than +infinity
 *   STEP_AREA_MASK    one bit a token, token 0 the lowest bit of the first word; 1 = allowed;
 *                     (vocabulary + 31) / 32 words
 *   STEP_AREA_COUNTS  pairs of token and STEP_COUNT_*: what the row's penalties have to know
 * A kind at most once a row, a token at most once a record (else one of its values counts), applied
 * in the order counts, bias, mask; a row of which they leave nothing to draw is ST_NUMERIC. Biases
 * and masks hold for this step. Rows may share an area.
 *
 * Counts stay with the row on the device: a row with a penalty brings STEP_AREA_COUNTS of all its
 * tokens, those of the chunk included, when it draws for the first time after it got its row (or
 * got one back after a preemption); that wipes what was there (K8). From then on the executor
 * counts the tokens that it draws, and the row draws in each of its steps, one position after the
 * other; the record is refused where the row has no penalty, and a row without it that does not go
 * on from its last draw, too. */
enum step_area { STEP_AREA_BIAS = 1, STEP_AREA_MASK, STEP_AREA_COUNTS };
#define STEP_COUNT_PROMPT 0x80000000u /* occurs in the prompt */
#define STEP_COUNT_DRAWN 0x00ffffffu  /* how often it was generated; counted up to 32,767 */

struct step_row {
    row_id row;            /* which row of the device tables */
    int32_t first;         /* position (in the sequence) of the first token of the chunk */
    int32_t n;             /* tokens in the chunk; decode: 1 */
    int32_t token0;        /* index of the chunk's first token in tokens[] */
    int32_t want;          /* enum step_want */
    int32_t n_verify;      /* STEP_WANT_VERIFY: 1 .. n - 1; else 0 */
    int32_t area0, n_area; /* words of area[]; 0 = nothing */
    /* Prefill, beside what it wants: log probabilities of the tokens after the first n_score of the
     * chunk (0 .. n): of the chunk's own second to last, and with n_score == n of `next`, the token
     * that follows the chunk. Each with the n_score_top best of its position (<= 20). */
    int32_t n_score, n_score_top;
    token_id next;
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
    int32_t share;  /* 0: the whole device; k: the lane's part of the k-th split, see executor */
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
/* Tokens lie one row after the other, in the order of the step's rows; scores likewise. */
struct step_result {
    int32_t n_rows;
    int32_t n;       /* tokens of all rows */
    int32_t n_score; /* scores of all rows */
    struct {
        int32_t first, n; /* token[first, first + n) are this row's */
        int32_t status;   /* 0; ST_NUMERIC: raw logits of the row had a NaN, +infinity or nothing
                             finite, nothing was left to draw, or its hidden state is not finite.
                             Then it has neither tokens nor scores, and what it computed is not to
                             be kept */
        int32_t score0, n_score; /* score[score0, score0 + n_score) are this row's */
    } row[MAX_ROWS];
    token_id token[MAX_RESULTS];
    float logprob[MAX_RESULTS]; /* of token[k]; valid if the row's n_logprobs >= 0 */
    int32_t n_top[MAX_RESULTS]; /* entries of top[k], best first */
    struct token_logprob top[MAX_RESULTS][MAX_LOGPROBS];
    /* Of the tokens that step_row.n_score names, in their order; score_top[k] has the row's
     * n_score_top entries (or the whole vocabulary), best first. Where the token is among them its
     * score is the same float. */
    float score[MAX_STEP_TOKENS];
    int32_t score_rank[MAX_STEP_TOKENS]; /* its place among all tokens by raw logit, from 1 */
    struct token_logprob score_top[MAX_STEP_TOKENS][MAX_LOGPROBS];
};

/* For executors, row by row from 0: room for n tokens of row i. Returns the index of the first. */
static inline int32_t step_result_add(struct step_result *r, int32_t i, int32_t n)
{
    int32_t first = i == 0 ? 0 : r->n;
    if (i == 0)
        r->n_score = 0;
    r->row[i].first = first;
    r->row[i].n = n;
    r->row[i].status = 0;
    r->row[i].score0 = r->n_score;
    r->row[i].n_score = 0;
    r->n_rows = i + 1;
    r->n = first + n;
    return first;
}
/* After it, for the same row: it has failed, and gives nothing. */
static inline void step_result_undo(struct step_result *r, int32_t i, int32_t status)
{
    r->n = r->row[i].first;
    r->n_score = r->row[i].score0;
    r->row[i].n = r->row[i].n_score = 0;
    r->row[i].status = status;
}
/* After it: room for n scores of the same row. Returns the index of the first. */
static inline int32_t step_result_add_scores(struct step_result *r, int32_t i, int32_t n)
{
    r->row[i].n_score = n;
    r->n_score += n;
    return r->row[i].score0;
}

/* What the engine sees of whoever executes steps (a model on a backend, or the hash model of the
 * tests). Engine thread only. Steps run in submission order; at most MAX_INFLIGHT are in flight and
 * the engine alternates slot = 0, 1, 0, ... A slot's step must stay untouched until its wait.
 *
 * Two executors may serve one engine as lanes, one for prefill and one for decode steps, over the
 * same pool and the same rows' tables. Their steps run side by side in no order between them: a row
 * is in the steps of one lane only until those are waited for. n_shares ways to split the device
 * between them exist, 1 .. n_shares by growing part of the decode lane (the first may be "as it
 * comes"); a step says whether it runs on its lane's part or, when the other lane has nothing to
 * do, on the whole device. */
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
    /* Between the wait for slot and the next submit into it: copy the vector of its row i, which
     * wanted STEP_WANT_HIDDEN or _MEAN and has status 0, to dst [hidden_dim]. 0, or
     * ST_INVALID_VALUE where the row has none. NULL: an executor without, hidden_dim is 0. */
    int (*hidden)(void *self, int slot, int32_t i, float *dst);
    int32_t hidden_dim;
    int32_t n_shares; /* 0: the device cannot be split */
};

#endif
