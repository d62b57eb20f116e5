/* SPDX-License-Identifier: Apache-2.0 */
/* logprobs.h - log probabilities of tokens as text. Loop thread. */
#ifndef QUIRE_API_LOGPROBS_H
#define QUIRE_API_LOGPROBS_H

#include "stream.h"

/* A token's text as a JSON string that no other token of other bytes has. */
void token_key(struct buf *b, const struct stream *s, token_id id);
/* One entry of completions' arrays: the token of rec, which stands at `offset` of the text, with
 * the best `most` of those that came beside it. */
void logprob_text(struct lp *to, const struct stream *s, int64_t offset, const struct out_rec *rec,
                  const struct token_logprob *top, int32_t most);
/* Where a token stands in the text, *offset: behind what the tokens before it gave, *emitted.
 * `before` is the detokeniser as it was, `raw` what it gave for the token. */
void logprob_place(int64_t *offset, int64_t *emitted, const struct detok *before,
                   const struct buf *raw);
/* A generated token of c. */
void logprob_add(struct choice *c, const struct out_rec *rec, const struct token_logprob *top);
/* `,"logprobs":` and what has been collected since the last call. */
void put_logprobs(struct buf *b, struct choice *c);
size_t logprob_bytes(const struct lp *lp);

#endif
