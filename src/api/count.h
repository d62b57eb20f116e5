/* SPDX-License-Identifier: Apache-2.0 */
/* count.h - how many tokens a request of the messages endpoint would have. Handlers: handler.h. */
#ifndef QUIRE_API_COUNT_H
#define QUIRE_API_COUNT_H

#include "handler.h"

void api_count_tokens(struct req *r);
void count_free(struct req *r);

#endif
