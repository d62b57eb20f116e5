/* SPDX-License-Identifier: Apache-2.0 */
/* random.h - names that nobody can guess. */
#ifndef QUIRE_RANDOM_H
#define QUIRE_RANDOM_H

/* n <= 64 hexadecimal digits and a zero, from the kernel. Any thread. */
void random_hex(char *hex, int n);

#endif
