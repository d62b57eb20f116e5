/* SPDX-License-Identifier: Apache-2.0 */
/* case.h - letter case, character classes, replacing and padding: shared by methods and
 * filters. Private to jinja/.
 */
#ifndef QUIRE_JINJA_CASE_H
#define QUIRE_JINJA_CASE_H

#include "run.h"

enum jcase { CASE_UPPER, CASE_LOWER, CASE_FOLD, CASE_SWAP, CASE_CAPITAL, CASE_TITLE };
struct jv jstr_case(struct jrun *r, const struct jstr *s, enum jcase how);

enum jclass {
    CLASS_DIGIT,
    CLASS_DECIMAL,
    CLASS_NUMERIC,
    CLASS_ALPHA,
    CLASS_ALNUM,
    CLASS_SPACE,
    CLASS_UPPER,
    CLASS_LOWER,
    CLASS_TITLE,
    CLASS_ASCII,
    CLASS_IDENTIFIER,
    CLASS_PRINTABLE
};
/* Python's str.isdigit() and its like: all characters, and (but for ascii, printable) at least one.
 */
bool jstr_is_class(struct jrun *r, const struct jstr *s, enum jclass which);
bool jchar_printable(uint32_t c);

/* max < 0: all of them. */
struct jv jstr_replace(struct jrun *r, const struct jstr *s, const struct jstr *old,
                       const struct jstr *new_text, int64_t max);
/* To `width` code points; how: < > ^ as ljust, rjust, center. */
struct jv jstr_pad(struct jrun *r, const struct jstr *s, int64_t width, const struct jstr *fill,
                   char how);

#endif
