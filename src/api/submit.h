/* SPDX-License-Identifier: Apache-2.0 */
/* submit.h - a stream's choices to the engine. Loop thread. */
#ifndef QUIRE_API_SUBMIT_H
#define QUIRE_API_SUBMIT_H

#include "stream.h"

/* All that have something to generate. 0, or why the engine took no more: then those before it are
 * in the engine. ST_INVALID_VALUE: biases, mask and min_tokens leave nothing to draw. */
int submit_all(struct stream *s);

#endif
