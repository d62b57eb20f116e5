/* SPDX-License-Identifier: Apache-2.0 */
/* slot.c - see slot.h. An id is a slot's index below its generation. */
#include "slot.h"

#include "mem.h"

#include <stdlib.h>

enum { SLOT_BITS = 20 };

static uint32_t index_of(req_id id)
{
    return (uint32_t)(id & ((1u << SLOT_BITS) - 1));
}

void slots_open(struct slots *s, int64_t max_live)
{
    int64_t most = (1 << SLOT_BITS) - 1;
    s->max_live = (int32_t)(max_live < most ? max_live : most);
    s->n = (uint32_t)s->max_live + 1;
    s->v = xcalloc2(s->n, sizeof *s->v);
    for (uint32_t i = 0; i < s->n; i++)
        s->v[i].next_free = i + 1;
}

void slots_close(struct slots *s)
{
    free(s->v);
    *s = (struct slots){0};
}

static req_id take(struct slots *s, struct choice *c, struct embed_input *in)
{
    uint32_t i = s->free;
    struct slot *t = &s->v[i];
    s->free = t->next_free;
    t->gen++;
    t->c = c;
    t->in = in;
    s->n_live++;
    return (req_id)t->gen << SLOT_BITS | i;
}

req_id slot_take(struct slots *s, struct choice *c)
{
    return take(s, c, NULL);
}

req_id slot_take_input(struct slots *s, struct embed_input *in)
{
    return take(s, NULL, in);
}

void slot_give(struct slots *s, req_id id)
{
    uint32_t i = index_of(id);
    s->v[i].c = NULL;
    s->v[i].in = NULL;
    s->v[i].next_free = s->free;
    s->free = i;
    s->n_live--;
}

struct choice *slot_find(const struct slots *s, req_id id)
{
    uint32_t i = index_of(id);
    if (i >= s->n || s->v[i].gen != (uint32_t)(id >> SLOT_BITS))
        return NULL;
    return s->v[i].c;
}

struct embed_input *slot_find_input(const struct slots *s, req_id id)
{
    uint32_t i = index_of(id);
    if (i >= s->n || s->v[i].gen != (uint32_t)(id >> SLOT_BITS))
        return NULL;
    return s->v[i].in;
}
