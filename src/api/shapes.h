/* SPDX-License-Identifier: Apache-2.0 */
/* shapes.h - small shapes of OpenAI's answers. Pure; any thread. */
#ifndef QUIRE_API_SHAPES_H
#define QUIRE_API_SHAPES_H

#include "buf.h"
#include "status.h"

/* The shortest decimal that reads back as the same float; -9999.0 for what is below: JSON has no
 * infinity. */
void out_logprob(struct buf *b, float v);
/* {"error":{"message","type","param","code"}}; status 0 is not allowed. No newline in it. */
void out_error(struct buf *b, const struct err *e);

#endif
