/* SPDX-License-Identifier: Apache-2.0 */
/* pool.c - pages and their references.
 *
 * Owns refs[] and the free stack (K1, K2). Knows neither nodes nor device memory. Engine thread.
 */
#include "check.h"
#include "tree.h"

void kv_ref(struct kv *kv, page_id p)
{
    kv->refs[p]++;
}

void kv_unref(struct kv *kv, page_id p)
{
    CHECK(kv->refs[p] > 0);
    if (--kv->refs[p] == 0)
        kv->freed[kv->n_free++] = p;
}
