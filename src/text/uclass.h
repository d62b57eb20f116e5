/* SPDX-License-Identifier: Apache-2.0 */
/* uclass.h - code point classes that the tokenizers' steps ask for. Pure functions, any thread. */
#ifndef QUIRE_TEXT_UCLASS_H
#define QUIRE_TEXT_UCLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool uclass_space(uint32_t c);   /* White_Space: 25 code points */
bool uclass_word(uint32_t c);    /* \w of UTS 18: Alphabetic, M, Nd, Pc, Join_Control */
bool uclass_numeric(uint32_t c); /* N */
bool uclass_mark(uint32_t c);    /* M */
bool uclass_punct(uint32_t c);   /* ASCII punctuation, or P */

/* Code points that Unicode 15 and 16 added, as ranges with their class: a library with older tables
 * takes them for unassigned. */
struct uclass_range {
    uint32_t first, last;
    char cls[3]; /* "Lu", "M", ... */
};
extern const struct uclass_range uclass_new[];
extern const size_t n_uclass_new;
/* Index of the range of uclass_new that holds c; -1 when none. */
int uclass_find_new(uint32_t c);

#endif
