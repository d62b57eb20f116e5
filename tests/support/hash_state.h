/* SPDX-License-Identifier: Apache-2.0 */
/* hash_state.h - what the files of the hash model share: hash_model.c runs steps, hash_check.c
 * judges them at their submission. */
#ifndef QUIRE_TEST_HASH_STATE_H
#define QUIRE_TEST_HASH_STATE_H

#include "hash_model.h"

enum { NOBODY = 0, MANY = -1 };

struct slot {
    const struct step *step; /* NULL: not in flight */
    int executed;
    uint64_t sum; /* of the step at submit */
    struct step_result result;
    int64_t end_us;           /* late, two lanes: when it is done */
    int32_t *reader, *writer; /* [n_pages]: row + 1, NOBODY, MANY */
    float (*vector)[HM_DIM];  /* [max_rows]: of the step's rows */
};

enum { MAX_HM_LANES = 2, HM_PREFILL = 0 };

/* What an executor points to. */
struct hm_lane {
    struct hash_model *hm;
    int index;
    struct slot slot[MAX_INFLIGHT];
    int next, n_flight;
    uint64_t no;
    int64_t end_us;    /* of its last step */
    int32_t *row_next; /* [max_rows]: position after the row's chunk in the other slot, -1 */
    uint8_t *banned;   /* [vocab] scratch */
};

struct hash_model {
    struct hm_config c;
    uint64_t *kv;          /* [n_pages][page_tokens] */
    page_id *table, *seen; /* [max_rows][max_pages] */
    token_id *last;        /* [max_rows] */
    uint32_t *count;       /* [max_rows][vocab] what penalties see, see step.h */
    int32_t *drew;         /* [max_rows]: position that a row with a penalty draws next, -1 */
    float (*sum)[HM_DIM];  /* [max_rows] of hidden states */
    int32_t *sum_next;     /* [max_rows]: position at which the sum goes on */
    int32_t *drawn_by;     /* [max_rows]: lane + 1 of the step that draws for the row last */
    struct hm_lane lane[MAX_HM_LANES];
    uint64_t rng;
    int64_t now;
    struct hm_counts n;
    uint64_t fail_no;
    int fail_status, fail_times, fail_on_wait;
    uint64_t spoil_no;
};

/* Count it; the text of the first is kept. Any thread. */
void hm_violation(struct hm_lane *ln, const char *what, int64_t a, int64_t b);
/* May the step go into that slot now, and does it nothing it must not do? Notes what it uses. */
int hm_check_step(struct hm_lane *ln, int slot, const struct step *s);

#endif
