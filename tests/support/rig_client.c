/* SPDX-License-Identifier: Apache-2.0 */
/* rig_client.c - the rig's client: a raw socket, answers read to their end, metrics. See rig.h. */
#include "rig.h"

#include <errno.h>
#include <netinet/tcp.h>

int dial(const struct rig *r)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)r->port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0)
        fail_msg("connect: %s", strerror(errno));
    struct timeval tv = {.tv_sec = RIG_LIMIT_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    return fd;
}

bool put_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k <= 0)
            return false;
        p += k;
        n -= (size_t)k;
    }
    return true;
}

int get_byte(int fd)
{
    unsigned char c;
    ssize_t k = recv(fd, &c, 1, 0);
    return k == 1 ? c : -1;
}

static void grow(struct answer *a, int fd, size_t n)
{
    a->body = realloc(a->body, a->n + n + 1);
    size_t got = 0;
    while (got < n) {
        ssize_t k = recv(fd, a->body + a->n + got, n - got, 0);
        if (k <= 0)
            break;
        got += (size_t)k;
    }
    a->n += got;
    a->body[a->n] = '\0';
}

bool read_head(int fd, struct answer *a)
{
    size_t n = 0;
    int c;
    *a = (struct answer){0};
    while (n < sizeof a->head - 1 && (c = get_byte(fd)) >= 0) {
        a->head[n++] = (char)c;
        if (n >= 4 && memcmp(a->head + n - 4, "\r\n\r\n", 4) == 0)
            break;
    }
    a->head[n] = '\0';
    if (sscanf(a->head, "HTTP/1.%*d %d", &a->status) != 1)
        a->status = 0;
    return a->status != 0;
}

struct answer get_answer(int fd, bool head_only)
{
    struct answer a;
    a.body = NULL;
    if (!read_head(fd, &a)) {
        a.body = calloc(1, 1);
        return a;
    }
    const char *cl = strcasestr(a.head, "\r\ncontent-length:");
    if (!head_only && strcasestr(a.head, "\r\ntransfer-encoding: chunked")) {
        for (;;) {
            char line[32];
            size_t n = 0;
            int c;
            while (n < 31 && (c = get_byte(fd)) >= 0 && c != '\n')
                line[n++] = (char)c;
            line[n] = '\0';
            size_t k = strtoul(line, NULL, 16);
            if (n == 0 || k == 0) {
                get_byte(fd);
                get_byte(fd);
                break;
            }
            grow(&a, fd, k);
            get_byte(fd);
            get_byte(fd);
        }
    } else if (!head_only && cl) {
        grow(&a, fd, strtoul(cl + 17, NULL, 10));
    }
    if (!a.body)
        a.body = calloc(1, 1);
    return a;
}

void post_head(char *out, size_t cap, const char *path, size_t n, const char *extra)
{
    snprintf(out, cap,
             "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
             "Content-Length: %zu\r\n%s\r\n",
             path, n, extra ? extra : "");
}

void put_post(int fd, const char *path, const char *body)
{
    char head[512];
    post_head(head, sizeof head, path, strlen(body), NULL);
    put_all(fd, head, strlen(head));
    put_all(fd, body, strlen(body));
}

struct answer post(const struct rig *r, const char *path, const char *body)
{
    int fd = dial(r);
    put_post(fd, path, body);
    struct answer a = get_answer(fd, false);
    close(fd);
    return a;
}

struct answer raw(const struct rig *r, const char *text, size_t n)
{
    int fd = dial(r);
    put_all(fd, text, n);
    struct answer a = get_answer(fd, strncmp(text, "HEAD", 4) == 0);
    close(fd);
    return a;
}

struct answer get(const struct rig *r, const char *path)
{
    char t[512];
    snprintf(t, sizeof t, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    return raw(r, t, strlen(t));
}

bool has(const struct answer *a, const char *s)
{
    return strstr(a->body, s) != NULL;
}

double metric_in(const char *body, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = body; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
        if (strncmp(p, name, n) == 0 && (p[n] == '{' || p[n] == ' ')) {
            const char *end = strchr(p, '\n'), *sp = p;
            for (const char *q = p; q < end; q++)
                if (*q == ' ')
                    sp = q;
            return atof(sp + 1);
        }
    return -1;
}

double metric(const struct rig *r, const char *name)
{
    struct answer a = get(r, "/metrics");
    double v = metric_in(a.body, name);
    free(a.body);
    return v;
}

bool metric_becomes(const struct rig *r, const char *name, double v)
{
    int64_t until = clock_us() + RIG_LIMIT_S * 1000000LL;
    do {
        if (metric(r, name) == v)
            return true;
        usleep(2000);
    } while (clock_us() < until);
    return false;
}

bool status_becomes(const struct rig *r, const char *path, int status)
{
    int64_t until = clock_us() + RIG_LIMIT_S * 1000000LL;
    do {
        struct answer a = get(r, path);
        free(a.body);
        if (a.status == status)
            return true;
        usleep(2000);
    } while (clock_us() < until);
    return false;
}
