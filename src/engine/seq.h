/* SPDX-License-Identifier: Apache-2.0 */
/* seq.h - mechanism of the life cycle of a seq. seq_preempt and seq_end only mark; whoever calls
 * them says seq_settle_if_idle when it is done with the seq. */
#ifndef QUIRE_ENGINE_SEQ_H
#define QUIRE_ENGINE_SEQ_H

#include "state.h"

void seq_admit(struct engine *en, const struct msg_submit *m);
bool seq_start(struct engine *en, struct seq *s, int32_t reserve); /* false: no room now */
bool seq_grow(struct engine *en, struct seq *s, int32_t n_tokens); /* pages for that many */
void seq_preempt(struct engine *en, struct seq *s);
void seq_end(struct engine *en, struct seq *s); /* no further work */
void seq_settle_if_idle(struct engine *en, struct seq *s);
/* Enter into the tree what has been filled; seq_filled: is there such a page? Every row of every
 * step asks and few have one, so it is a product, not a division, and no call. */
static inline bool seq_filled(const struct engine *en, const struct seq *s)
{
    int32_t n = s->n_done < s->n_known ? s->n_done : s->n_known;
    return s->n_pub < s->n_pages && (s->n_pub + 1) * en->lim.page_tokens <= n;
}
void seq_publish(struct engine *en, struct lane *ln, struct seq *s);
void seq_break(struct engine *en, struct seq *s); /* what it computed is not to be trusted */

#endif
