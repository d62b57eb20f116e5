/* SPDX-License-Identifier: Apache-2.0 */
/* rig.h - a whole server in one process: the real front end, engine and tokenizer (256 bytes plus
 * two specials), and an executor that writes a script: the token at position p of any sequence is
 * byte script[p % length]. Element j of a hidden state is 1 + j plus a hundredth of the last token
 * of its chunk, less than 0 where a mean was asked for; after a '!' it is no number. A raw socket
 * is the client.
 *
 * No test here depends on how fast anything is: rig_hold stops the executor between two steps, so
 * what must still be running is, however long the test is kept off the processor; waiting is
 * always for an event, with a limit so large that only a hang reaches it.
 */
#ifndef QUIRE_TEST_RIG_H
#define QUIRE_TEST_RIG_H

#include "api.h"
#include "clock.h"
#include "testing.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RIG_VOCAB = 258, RIG_BOS = 256, RIG_EOS = 257, RIG_LIMIT_S = 120, RIG_DIM = 8 };

struct rig_exec {
    const char *script;
    size_t n_script;
    const struct step *step[2];
    _Atomic int64_t step_us;
    _Atomic bool prefill_free; /* then only decode steps take step_us */
    _Atomic int fail;          /* ST_* answered by the next wait */
    _Atomic int64_t steps;
    _Atomic int64_t eos_at; /* position whose token is EOS; 0 = none */
    pthread_mutex_t lock;
    pthread_cond_t moved;
    int64_t may; /* under lock: steps that may still end; -1 = all */
};

struct rig {
    struct api *a;
    struct http *h; /* a's */
    struct engine *en;
    struct tok *tok;
    struct chat *chat;
    struct rig_exec ex;
    const char *template; /* NULL: a line per message */
    struct config c;      /* of all of it; from rig_defaults to rig_end */
    struct api_limits limits;
    struct engine_facts f;
    pthread_t loop;
    int result, port;
};
extern struct rig rig; /* most tests have one at a time */

/* In this order; between the first two settings may be changed. */
void rig_defaults(struct rig *r);
void rig_set(struct rig *r, const char *path, const char *text); /* one setting */
void rig_start(struct rig *r);                                   /* listen, load */
void rig_listen(struct rig *r);
void rig_load(struct rig *r);
void rig_stop(struct rig *r); /* drain, end */
void rig_end(struct rig *r);  /* wait for the loop; release all */
/* cmocka's: rig with its defaults. */
int rig_up(void **state);
int rig_down(void **state);

void rig_hold(struct rig *r);             /* no step ends until rig_steps or rig_go */
void rig_steps(struct rig *r, int64_t n); /* n steps more, then hold again */
void rig_go(struct rig *r);

/* ---- client ---- */

struct answer {
    int status; /* 0 = closed without one */
    char head[4096];
    char *body; /* de-chunked, zero-terminated; free */
    size_t n;
};

int dial(const struct rig *r);
bool put_all(int fd, const char *p, size_t n);
int get_byte(int fd);                     /* -1: closed */
bool read_head(int fd, struct answer *a); /* no body yet */
struct answer get_answer(int fd, bool head_only);
void post_head(char *out, size_t cap, const char *path, size_t n, const char *extra);
void put_post(int fd, const char *path, const char *body);
struct answer post(const struct rig *r, const char *path, const char *body);
struct answer raw(const struct rig *r, const char *text, size_t n);
struct answer get(const struct rig *r, const char *path);
bool has(const struct answer *a, const char *s);
double metric_in(const char *body, const char *name);
double metric(const struct rig *r, const char *name);
/* Until the metric has the value, or GET path the status: an event, not a time. False after
 * RIG_LIMIT_S. */
bool metric_becomes(const struct rig *r, const char *name, double v);
bool status_becomes(const struct rig *r, const char *path, int status);

#endif
