/* SPDX-License-Identifier: Apache-2.0 */
/* testing.h - cmocka with the headers it forgets, and where the test data is. */
#ifndef QUIRE_TESTING_H
#define QUIRE_TESTING_H

/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

/* A path under tests/fixtures (static buffer, overwritten by the next call). */
const char *fixture_path(const char *rel);
/* A path under QUIRE_TEST_DATA, else under ../shared/data beside the source tree; NULL when neither
 * folder exists (the caller then skips and says so). */
const char *data_path(const char *rel);
/* Whole file, zero-terminated; NULL when unreadable. free() it. */
char *read_file(const char *path, size_t *n);
/* Same for FILE.xz through `xz -dc`. */
char *read_xz(const char *path, size_t *n);

#endif
