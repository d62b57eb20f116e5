/* SPDX-License-Identifier: Apache-2.0 */
/* listen.h - the one setting that the machine has to agree with. */
#ifndef QUIRE_CONFIG_LISTEN_H
#define QUIRE_CONFIG_LISTEN_H

#include <stdbool.h>
#include <stddef.h>

/* ADDRESS:PORT of this machine? A name instead of an address is looked up: *listen, of the heap, is
 * then replaced by what was found. False with the reason in why. Start-up; may wait for a name
 * server. */
bool listen_settle(char **listen, char *why, size_t n);

#endif
