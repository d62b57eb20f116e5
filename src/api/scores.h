/* SPDX-License-Identifier: Apache-2.0 */
/* scores.h - log probabilities of the prompts' own tokens, for "echo" with "logprobs" and for
 * "prompt_logprobs": collected once a prompt, shown with each of its choices. Loop thread.
 */
#ifndef QUIRE_API_SCORES_H
#define QUIRE_API_SCORES_H

#include "stream.h"

/* Of one prompt. */
struct scores {
    int32_t left; /* tokens that the engine has still to tell of */
    struct detok detok;
    int64_t emitted; /* code points of the text so far */
    struct lp echo;  /* the prompt's part of "logprobs" */
    struct buf list; /* the items of "prompt_logprobs" */
};

/* Set up those of all prompts, if any are wanted. false: no memory. */
bool scores_open(struct stream *s);
void scores_free(struct stream *s);
/* The next token of c's prompt, as the engine tells it. false: no memory. */
bool scores_add(const struct choice *c, const struct out_rec *rec, const struct token_logprob *top);
/* Must c show nothing yet, because its prompt comes first? */
bool scores_pending(const struct choice *c);
/* They are shown with the answer, and with the first event of each choice. */
const struct scores *scores_due(const struct choice *c); /* NULL: not now */
size_t scores_bytes(const struct choice *c);             /* 0 where they are not due */
/* `,"prompt_logprobs":[...]` where they were asked for and are due. */
void scores_put(struct buf *b, const struct choice *c);

#endif
