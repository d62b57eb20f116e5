/* SPDX-License-Identifier: Apache-2.0 */
/* outbox.h - records for the loop thread: gathered in a turn, sent at its end. */
#ifndef QUIRE_ENGINE_OUTBOX_H
#define QUIRE_ENGINE_OUTBOX_H

#include "state.h"

enum { MAX_HIDDEN = 1 << 16 }; /* floats of a vector; a few always fit into a message */

int outbox_init(struct engine *en, struct err *e);
void outbox_fini(struct engine *en);
void outbox_token(struct engine *en, const struct seq *s, token_id t, int finish, int32_t stop_id,
                  const struct step_result *r, int32_t k);
void outbox_score(struct engine *en, const struct seq *s, int32_t at, const struct step_result *r,
                  int32_t k);
void outbox_end(struct engine *en, const struct seq *s, int finish, int status);
/* The end of s with its vector: where to write that. And the same undone, right after. */
float *outbox_vector(struct engine *en, const struct seq *s);
void outbox_undo_vector(struct engine *en);
void outbox_refuse(struct engine *en, req_id id, int status);
bool outbox_send(struct engine *en); /* false: some are still held */

#endif
