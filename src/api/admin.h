/* SPDX-License-Identifier: Apache-2.0 */
/* admin.h - models, health, version, metrics. Handlers: handler.h. */
#ifndef QUIRE_API_ADMIN_H
#define QUIRE_API_ADMIN_H

#include "handler.h"

void api_models(struct req *r);
void api_model(struct req *r);
void api_health(struct req *r);
void api_ready(struct req *r);
void api_live(struct req *r);
void api_version(struct req *r);
void api_metrics(struct req *r);

#endif
