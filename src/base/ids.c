/* SPDX-License-Identifier: Apache-2.0 */
/* ids.c - the growing list of token ids. Any thread, one owner at a time. */
#include "ids.h"

#include "buf.h"
#include "mem.h"

#include <stdlib.h>

void ids_add(struct ids *v, token_id t)
{
    if (v->n == v->cap) {
        size_t bytes;
        v->cap = buf_grown(v->cap, v->n + 1, 32);
        v->p = xrealloc(v->p, mul_size(v->cap, sizeof *v->p, &bytes) ? bytes : SIZE_MAX);
    }
    v->p[v->n++] = t;
}

void ids_free(struct ids *v)
{
    free(v->p);
    *v = (struct ids){0};
}
