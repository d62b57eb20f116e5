/* rig.h - a whole server in one process: the real front end, engine and tokenizer (256 bytes plus
 * two specials), and an executor that writes a script: the token at position p of any sequence is
 * byte script[p % length]. A raw socket is the client.
 *
 * No test here depends on how fast anything is: rig_hold stops the executor between two steps, so
 * what must still be running is, however long the test is kept off the processor; waiting is
 * always for an event, with a limit so large that only a hang reaches it.
 */
#ifndef QUIRE_TEST_HTTP_RIG_H
#define QUIRE_TEST_HTTP_RIG_H

/* every test uses a part of this */
#pragma GCC diagnostic ignored "-Wunused-function"

#include "clock.h"
#include "engine_fixture.h"
#include "http.h"
#include "log.h"
#include "testing.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RIG_VOCAB = 258, RIG_BOS = 256, RIG_EOS = 257, RIG_LIMIT_S = 120 };

struct rig_exec {
    const char *script;
    size_t n_script;
    const struct step *step[2];
    _Atomic int64_t step_us;
    _Atomic int fail; /* ST_* answered by the next wait */
    _Atomic int64_t steps;
    _Atomic int64_t eos_at; /* position whose token is EOS; 0 = none */
    pthread_mutex_t lock;
    pthread_cond_t moved;
    int64_t may; /* under lock: steps that may still end; -1 = all */
};

struct rig {
    struct http *h;
    struct engine *en;
    struct tok *tok;
    struct chat *chat;
    struct rig_exec ex;
    const char *template; /* NULL: a line per message */
    struct http_config c;
    struct engine_fixture ec;
    pthread_t loop;
    int result, port;
};

static int rig_submit(void *self, int slot, const struct step *s)
{
    ((struct rig_exec *)self)->step[slot] = s;
    return 0;
}

static void rig_allow(struct rig *r, int64_t may)
{
    pthread_mutex_lock(&r->ex.lock);
    r->ex.may = may;
    pthread_cond_broadcast(&r->ex.moved);
    pthread_mutex_unlock(&r->ex.lock);
}

/* No step ends until rig_steps or rig_go. */
static void rig_hold(struct rig *r)
{
    rig_allow(r, 0);
}

/* n steps more, then hold again. */
static void rig_steps(struct rig *r, int64_t n)
{
    rig_allow(r, n);
}

static void rig_go(struct rig *r)
{
    rig_allow(r, -1);
}

static void rig_gate(struct rig_exec *x)
{
    pthread_mutex_lock(&x->lock);
    while (x->may == 0)
        pthread_cond_wait(&x->moved, &x->lock);
    if (x->may > 0)
        x->may--;
    pthread_mutex_unlock(&x->lock);
}

static int rig_wait(void *self, int slot, struct step_result *r)
{
    struct rig_exec *x = self;
    const struct step *s = x->step[slot];
    int64_t us = atomic_load(&x->step_us), eos_at = atomic_load(&x->eos_at);
    rig_gate(x);
    int st = atomic_exchange(&x->fail, 0);
    if (us)
        usleep((useconds_t)us);
    atomic_fetch_add(&x->steps, 1);
    if (st)
        return st;
    for (int32_t i = 0; i < s->n_rows; i++) {
        int32_t n = s->rows[i].want == STEP_WANT_SAMPLE, j = step_result_add(r, i, n);
        if (n == 0)
            continue;
        int64_t at = s->rows[i].first + s->rows[i].n;
        token_id t = (unsigned char)x->script[(size_t)at % x->n_script];
        r->token[j] = eos_at && at == eos_at ? RIG_EOS : t;
        r->logprob[j] = -0.5f;
        r->n_top[j] = s->sample[i].n_logprobs > 0 ? s->sample[i].n_logprobs : 0;
        for (int32_t k = 0; k < r->n_top[j]; k++)
            r->top[j][k] = (struct token_logprob){k ? (t + k) % 256 : t, -0.5f - (float)k};
    }
    return 0;
}

static int rig_ready(void *self, int slot)
{
    (void)self;
    (void)slot;
    return 1;
}

/* GPT-2's byte alphabet, so that token id == byte. */
static void rig_tok(struct tok **out)
{
    static char text[RIG_VOCAB][8];
    static struct view v[RIG_VOCAB];
    static int32_t types[RIG_VOCAB];
    int extra = 0;
    for (int b = 0; b < 256; b++) {
        int c = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE ? b : 256 + extra++;
        int n = 0;
        if (c < 0x80) {
            text[b][n++] = (char)c;
        } else {
            text[b][n++] = (char)(0xC0 | c >> 6);
            text[b][n++] = (char)(0x80 | (c & 0x3F));
        }
        v[b] = (struct view){text[b], (size_t)n};
        types[b] = 1;
    }
    v[RIG_BOS] = (struct view){"<s>", 3};
    v[RIG_EOS] = (struct view){"</s>", 4};
    types[RIG_BOS] = types[RIG_EOS] = 3;
    struct text_source s = {.gguf_model = {"gpt2", 4},
                            .gguf_pre = {"gpt-2", 5},
                            .gguf_tokens = v,
                            .n_gguf_tokens = RIG_VOCAB,
                            .gguf_types = types,
                            .bos_id = RIG_BOS,
                            .eos_id = RIG_EOS,
                            .unk_id = -1,
                            .pad_id = -1,
                            .add_bos = 0,
                            .add_eos = 0,
                            .add_space_prefix = 0};
    struct err e = {0};
    if (tok_open(out, &s, &e) != 0)
        fail_msg("tok_open: %s", e.msg);
}

static void *rig_loop(void *arg)
{
    struct rig *r = arg;
    r->result = http_run(r->h);
    return NULL;
}

static void rig_defaults(struct rig *r)
{
    static const char *const names[] = {"tiny", "other/name"};
    static const char script[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    *r = (struct rig){.c = {.served_names = names,
                            .n_served_names = 2,
                            .drain_timeout_us = 5000000,
                            .queue_size = 512},
                      .ec = engine_fixture()};
    r->ec.f.n_pages = 4096;
    r->ec.f.max_model_len = 2048;
    r->ec.f.vocab = RIG_VOCAB;
    r->ec.f.audit_every = 0;
    r->ec.f.n_eos = 1;
    r->ec.f.eos[0] = RIG_EOS;
    r->ec.c.scheduler.max_step_tokens = 4096;
    r->ec.c.scheduler.max_decode_gap = 50000;
    log_set(LOG_WARN, LOG_TEXT);
    r->ex.script = script;
    r->ex.n_script = sizeof script - 1;
    pthread_mutex_init(&r->ex.lock, NULL);
    pthread_cond_init(&r->ex.moved, NULL);
    r->ex.may = -1;
}

static void rig_listen(struct rig *r)
{
    struct err e = {0};
    if (http_new(&r->h, &r->c, &e) != 0)
        fail_msg("http_new: %s", e.msg);
    r->port = http_port(r->h);
    assert_int_equal(pthread_create(&r->loop, NULL, rig_loop, r), 0);
}

static void rig_load(struct rig *r)
{
    struct err e = {0};
    struct executor ex = {&r->ex, rig_submit, rig_wait, rig_ready};
    struct text_source none = {.bos_id = -1, .eos_id = -1};
    static const char template[] =
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
    none.chat_template_jinja = (struct view){template, sizeof template - 1};
    if (r->template)
        none.chat_template_jinja = (struct view){r->template, strlen(r->template)};
    rig_tok(&r->tok);
    if (chat_open(&r->chat, &none, &e) != 0)
        fail_msg("chat_open: %s", e.msg);
    r->en = engine_fixture_new(&r->ec, &ex, http_outbox(r->h));
    assert_int_equal(engine_start(r->en, &e), 0);
    struct http_service s = {.tok = r->tok,
                             .chat = r->chat,
                             .engine = r->en,
                             .created_unix_s = 1700000000,
                             .fingerprint = "fp_000000000000",
                             .temperature = -1,
                             .top_p = -1,
                             .min_p = -1,
                             .top_k = -1};
    engine_limits_of(&s.ec, &r->ec.c, &r->ec.f);
    http_set_ready(r->h, &s);
}

static void rig_start(struct rig *r)
{
    rig_listen(r);
    rig_load(r);
}

static void rig_end(struct rig *r)
{
    pthread_join(r->loop, NULL);
    rig_go(r);
    if (r->en)
        engine_stop(r->en, ST_DRAINING);
    http_free(r->h);
    engine_free(r->en);
    chat_close(r->chat);
    tok_close(r->tok);
}

static void rig_stop(struct rig *r)
{
    rig_go(r);
    http_drain(r->h, false);
    rig_end(r);
}

/* ---- client ---- */

static int dial(const struct rig *r)
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

static bool put_all(int fd, const char *p, size_t n)
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

struct answer {
    int status;
    char head[4096];
    char *body; /* de-chunked, zero-terminated */
    size_t n;
};

static int get_byte(int fd)
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

static bool read_head(int fd, struct answer *a)
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

/* One answer; status 0 = closed without one. free(body). */
static struct answer get_answer(int fd, bool head_only)
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

static void post_head(char *out, size_t cap, const char *path, size_t n, const char *extra)
{
    snprintf(out, cap,
             "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
             "Content-Length: %zu\r\n%s\r\n",
             path, n, extra ? extra : "");
}

static void put_post(int fd, const char *path, const char *body)
{
    char head[512];
    post_head(head, sizeof head, path, strlen(body), NULL);
    put_all(fd, head, strlen(head));
    put_all(fd, body, strlen(body));
}

static struct answer post(const struct rig *r, const char *path, const char *body)
{
    int fd = dial(r);
    put_post(fd, path, body);
    struct answer a = get_answer(fd, false);
    close(fd);
    return a;
}

static struct answer raw(const struct rig *r, const char *text, size_t n)
{
    int fd = dial(r);
    put_all(fd, text, n);
    struct answer a = get_answer(fd, strncmp(text, "HEAD", 4) == 0);
    close(fd);
    return a;
}

static struct answer get(const struct rig *r, const char *path)
{
    char t[512];
    snprintf(t, sizeof t, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    return raw(r, t, strlen(t));
}

static bool has(const struct answer *a, const char *s)
{
    return strstr(a->body, s) != NULL;
}

static double metric_in(const char *body, const char *name)
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

static double metric(const struct rig *r, const char *name)
{
    struct answer a = get(r, "/metrics");
    double v = metric_in(a.body, name);
    free(a.body);
    return v;
}

/* Until the metric has the value: an event, not a time. False after RIG_LIMIT_S. */
static bool metric_becomes(const struct rig *r, const char *name, double v)
{
    int64_t until = clock_us() + RIG_LIMIT_S * 1000000LL;
    do {
        if (metric(r, name) == v)
            return true;
        usleep(2000);
    } while (clock_us() < until);
    return false;
}

/* Until GET path answers this status. */
static bool status_becomes(const struct rig *r, const char *path, int status)
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

#endif
