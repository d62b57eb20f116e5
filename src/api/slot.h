/* SPDX-License-Identifier: Apache-2.0 */
/* slot.h - the choices and the embeddings' inputs that the engine has, by req_id. Loop thread.
 *
 * A slot is given back at the engine's ending record only, so an id is never reused early; the
 * number of taken ones is what the engine still owes an end, and bounds admission.
 */
#ifndef QUIRE_API_SLOT_H
#define QUIRE_API_SLOT_H

#include "ids.h"

#include <stdint.h>

struct choice;
struct embed_input;
struct slot {
    uint32_t gen;     /* how often it was taken: the upper half of the id */
    struct choice *c; /* one of the two, or neither */
    struct embed_input *in;
    uint32_t next_free;
};
struct slots { /* {0} before slots_open */
    struct slot *v;
    uint32_t n, free;
    int32_t n_live, max_live;
};

void slots_open(struct slots *s, int64_t max_live);
void slots_close(struct slots *s);
/* n_live must be below max_live. */
req_id slot_take(struct slots *s, struct choice *c);
req_id slot_take_input(struct slots *s, struct embed_input *in);
void slot_give(struct slots *s, req_id id);
struct choice *slot_find(const struct slots *s, req_id id); /* NULL: no choice's (any more) */
struct embed_input *slot_find_input(const struct slots *s, req_id id); /* NULL alike */

#endif
