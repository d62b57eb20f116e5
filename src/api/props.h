/* SPDX-License-Identifier: Apache-2.0 */
/* props.h - what is loaded, for clients that ask before they talk. Handlers: handler.h. */
#ifndef QUIRE_API_PROPS_H
#define QUIRE_API_PROPS_H

#include "handler.h"

void api_props(struct req *r);
void api_tokenizer_info(struct req *r);

#endif
