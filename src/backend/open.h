/* SPDX-License-Identifier: Apache-2.0 */
/* open.h - the devices that backend.c can open. */
#ifndef QUIRE_BACKEND_OPEN_H
#define QUIRE_BACKEND_OPEN_H

#include "backend.h"

/* Fill op, call, info and priv of a zeroed *be. On an error nothing is left behind. */
int cpu_open(struct be *be, const struct be_config *c, struct err *e);
int cuda_open(struct be *be, const struct be_config *c, struct err *e);

#endif
