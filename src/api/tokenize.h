/* SPDX-License-Identifier: Apache-2.0 */
/* tokenize.h - text to ids and back for clients. Handlers: handler.h. */
#ifndef QUIRE_API_TOKENIZE_H
#define QUIRE_API_TOKENIZE_H

#include "handler.h"

void api_tokenize(struct req *r);
void api_detokenize(struct req *r);
void api_apply_template(struct req *r);
void token_free(struct req *r); /* of all */

#endif
