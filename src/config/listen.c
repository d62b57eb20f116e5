/* SPDX-License-Identifier: Apache-2.0 */
/* listen.c - see listen.h. What cannot be listened on is a wrong setting, said by --check-config
 * already; that the port is taken is not, and is found at the start.
 */
#include "listen.h"

#include "mem.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_HOST = 256 };

/* The text before the last colon, without brackets; false where it is none. */
static bool split(const char *listen, char *host, int *port)
{
    const char *colon = strrchr(listen, ':');
    char *end = NULL;
    long p = colon ? strtol(colon + 1, &end, 10) : -1;
    if (!colon || colon == listen || end == colon + 1 || *end || p < 0 || p > 65535)
        return false;
    size_t n = (size_t)(colon - listen);
    if (n >= 2 && listen[0] == '[' && listen[n - 1] == ']') {
        listen++;
        n -= 2;
    }
    if (n == 0 || n >= MAX_HOST)
        return false;
    memcpy(host, listen, n);
    host[n] = '\0';
    *port = (int)p;
    return true;
}

/* Any port of that address. */
static bool is_ours(const struct addrinfo *ai)
{
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && bind(fd, ai->ai_addr, ai->ai_addrlen) == 0;
    int was = errno;
    if (fd >= 0)
        close(fd);
    errno = was;
    return ok;
}

bool listen_settle(char **listen, char *why, size_t n)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
    struct addrinfo *ai = NULL;
    char host[MAX_HOST], found[MAX_HOST], text[MAX_HOST + 16];
    int port;
    if (!split(*listen, host, &port)) {
        snprintf(why, n, "http.listen must be ADDRESS:PORT, for example 127.0.0.1:8000");
        return false;
    }
    bool name = getaddrinfo(host, "0", &hints, &ai) != 0;
    hints.ai_flags = AI_PASSIVE;
    int bad = name ? getaddrinfo(host, "0", &hints, &ai) : 0;
    if (bad) {
        snprintf(why, n, "http.listen: %.100s is no address, and no name that can be looked up: %s",
                 host, gai_strerror(bad));
        return false;
    }
    bool ok = is_ours(ai);
    if (!ok)
        snprintf(why, n, "http.listen: %.100s is no address of this machine: %s", host,
                 strerror(errno));
    if (ok && name &&
        getnameinfo(ai->ai_addr, ai->ai_addrlen, found, sizeof found, NULL, 0, NI_NUMERICHOST) ==
            0) {
        snprintf(text, sizeof text, ai->ai_family == AF_INET6 ? "[%s]:%d" : "%s:%d", found, port);
        free(*listen);
        *listen = xstrdup(text);
    }
    freeaddrinfo(ai);
    return ok;
}
