/* SPDX-License-Identifier: Apache-2.0 */
/* raw.h - answers without microhttpd. Loop thread. */
#ifndef QUIRE_HTTP_RAW_H
#define QUIRE_HTTP_RAW_H

#include "state.h"

/* One write of a whole answer that ends the connection; id "" = a new one. The socket is fresh or
 * its peer waits for us, so what does not fit into its buffer is given up. */
void answer_raw(const struct http *h, int fd, const struct err *e, const char *id, bool head_only);
/* Takes fd and closes it once the client is done, soon at the latest. */
void raw_linger(struct http *h, int fd);
void raw_sweep(struct http *h, int64_t now);
void raw_close(struct http *h); /* all of them; the loop still runs once more */

#endif
