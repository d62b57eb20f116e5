/* SPDX-License-Identifier: Apache-2.0 */
/* openapi.h - the description of the API, as JSON and as a page. Handlers: handler.h. */
#ifndef QUIRE_API_OPENAPI_H
#define QUIRE_API_OPENAPI_H

#include "handler.h"

struct api;

void api_openapi(struct req *r);
/* The document as it is now, made once before and once after the model is loaded; NULL: no memory.
 * Loop thread. */
const struct buf *openapi_document(struct api *a);

#endif
