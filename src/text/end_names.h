/* SPDX-License-Identifier: Apache-2.0 */
/* end_names.h - the tokens that are known by their text to end a turn. Private to text/. Pure. */
#ifndef QUIRE_TEXT_END_NAMES_H
#define QUIRE_TEXT_END_NAMES_H

#include <stdbool.h>
#include <stddef.h>

enum { N_END_NAMES = 22 };
extern const char *const end_names[N_END_NAMES];

/* Nobody writes this text as text: a token with it is a control token, whatever type GGUF metadata
 * gives it (writers often leave it normal or call it the user's own). The other names, "</s>" and
 * "<eos>", are ordinary in HTML or in prose about models, and need to be marked as control. */
bool end_name_is_control(const char *s, size_t n);

#endif
