/* SPDX-License-Identifier: Apache-2.0 */
/* generate.h - the endpoints that generate. Handlers: handler.h. */
#ifndef QUIRE_API_GENERATE_H
#define QUIRE_API_GENERATE_H

#include "handler.h"

void api_completions(struct req *r);
void api_chat(struct req *r);
void api_messages(struct req *r);
void api_responses(struct req *r);

#endif
