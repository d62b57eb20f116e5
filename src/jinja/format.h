/* SPDX-License-Identifier: Apache-2.0 */
/* format.h - str % values and str.format(). Private to jinja/.
 */
#ifndef QUIRE_JINJA_FORMAT_H
#define QUIRE_JINJA_FORMAT_H

#include "run.h"

struct jv jformat_percent(struct jrun *r, const struct jstr *f, struct jv args);
struct jv jformat_braces(struct jrun *r, const struct jstr *f, struct jcall *c);

#endif
