/* SPDX-License-Identifier: Apache-2.0 */
/* peers.h - the command lines of other servers, answered. */
#ifndef QUIRE_CONFIG_PEERS_H
#define QUIRE_CONFIG_PEERS_H

/* What the option (--name, --name=value, a word) is here: "here it is --set ..." or why there is
 * none; NULL: nobody's option. Constant text. */
const char *peer_answer(const char *arg);

#endif
