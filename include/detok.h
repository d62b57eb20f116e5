/* SPDX-License-Identifier: Apache-2.0 */
/* detok.h - token ids to text: all at once, or one after the other as they are generated.
 *
 * A struct detok belongs to one stream, on one thread at a time.
 */
#ifndef QUIRE_DETOK_H
#define QUIRE_DETOK_H

#include "buf.h"
#include "ids.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tok; /* tokenizer.h */

/* All ids at once; what is not valid UTF-8 becomes U+FFFD as the reference library does it. */
int tok_decode(const struct tok *t, const token_id *ids, size_t n, bool skip_special,
               struct buf *out);

/* Streaming. */
struct detok {
    const struct tok *t;
    bool skip_special, started;
    uint8_t hold[16]; /* bytes of an incomplete code point or byte-fallback run */
    uint32_t n_hold;
    uint64_t state[4]; /* of the decoder's last steps, private to detok.c */
};
void detok_init(struct detok *d, const struct tok *t, bool skip_special);
/* Append to *out the text that is safe to show after this id (whole code points only). */
void detok_push(struct detok *d, token_id id, struct buf *out);
void detok_flush(struct detok *d, struct buf *out);

#endif
