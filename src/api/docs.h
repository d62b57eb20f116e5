/* SPDX-License-Identifier: Apache-2.0 */
/* docs.h - GET /docs. Handler: handler.h. */
#ifndef QUIRE_API_DOCS_H
#define QUIRE_API_DOCS_H

#include "handler.h"

void api_docs(struct req *r);

#endif
