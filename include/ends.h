/* SPDX-License-Identifier: Apache-2.0 */
/* ends.h - the ids that end a generation, from everything that was loaded. One thread, at load. */
#ifndef QUIRE_ENDS_H
#define QUIRE_ENDS_H

#include "buf.h"
#include "ids.h"
#include "status.h"
#include "text_source.h"

#include <stdint.h>

struct tok; /* tokenizer.h */
struct ends {
    int32_t n;
    struct end_id v[MAX_EOS]; /* each id once, in the order in which they were found */
};

/* In this order: the ids that the files name (src->ends), the tokenizer's own end token, and the
 * tokens known to end a turn by their text. Those count where the files mark them: in a folder a
 * special token that the chat template mentions, in GGUF metadata by the rule of end_names.h.
 * Ids of `vocab` and above are left out, for the model never says them. UNSUPPORTED when there are
 * more than MAX_EOS; the status of a damaged template file. */
int ends_find(struct ends *out, const struct text_source *src, const struct tok *t, int32_t vocab,
              struct err *e);
/* For the log: 4(<|im_end|>,config.json) 2(</s>,tokenizer). A long list is cut. Appends. */
void ends_text(const struct ends *s, const struct tok *t, struct buf *out);

#endif
