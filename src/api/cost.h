/* SPDX-License-Identifier: Apache-2.0 */
/* cost.h - what a request's answer may become, bounded before anything of it is made. Pure. */
#ifndef QUIRE_API_COST_H
#define QUIRE_API_COST_H

#include "genreq.h"

/* Bytes of s as a JSON string, at most, without its quotes. */
size_t cost_json(const char *s, size_t n);
/* The texts of the prompts for "echo" (into g->echo_text), and the bound on the bytes of the whole
 * answer: ST_INVALID_VALUE with the numbers where limits.max_answer_bytes is passed. A maximum of
 * new tokens that the client left out becomes what fits. ST_NOMEM. */
int cost_check(struct genreq *g, const struct gen_rules *u, struct err *e);

#endif
