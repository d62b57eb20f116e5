/* server.h - private: the loop thread's state, one request, one choice of a generation.
 *
 * Everything here is touched by the loop thread only, except the fields marked atomic and a job's
 * own copies. microhttpd's types stay inside server*.c; others see void pointers.
 */
#ifndef QUIRE_HTTP_SERVER_H
#define QUIRE_HTTP_SERVER_H

#include "api/genreq.h"
#include "http.h"
#include "json_out.h"
#include "api/metrics.h"

#include <stdatomic.h>
#include <uv.h>

enum { LOAD_LOADING, LOAD_READY, LOAD_FAILED };
enum { RUN_SERVE, RUN_DELAY, RUN_DRAIN, RUN_KILL, RUN_STOP };
enum { PH_HEAD, PH_BODY, PH_RUN, PH_IDLE };
enum { SLOT_BITS = 20 };

struct req;
struct http;

struct conn { /* one socket; from microhttpd's STARTED to its CLOSED */
    struct conn *prev, *next;
    int fd, phase;
    int64_t since_us; /* when the phase began; PH_BODY: the latest byte */
    struct req *req;
};

/* One sequence of a request: what the engine knows as a req_id. */
struct choice {
    struct req *r;
    req_id id; /* 0 = not in the engine (any more) */
    int32_t prompt, index;
    bool done;           /* nothing more is shown: finished, stopped by text, or given up */
    bool cancel_pending; /* the engine's inbox was full */
    bool started;        /* has sent its first chat chunk */
    int32_t n_tokens;    /* counted in usage */
    int32_t n_cached;
    int64_t first_us, last_us, queue_us;
    struct detok detok;
    struct stopper stopper;
    struct buf text;                   /* non-streaming: all of it */
    struct buf lp_a, lp_b, lp_c, lp_d; /* logprob arrays, comma separated */
    int64_t offset;                    /* text_offset of the next token, code points */
    const char *finish;                /* NULL while running */
    int32_t stop_string, stop_id;      /* -1 */
};

struct req {
    struct req *prev, *next;
    struct http *h;
    void *mc; /* struct MHD_Connection; NULL after completion */
    struct conn *conn;
    int fd;
    /* head */
    char *uri, *path; /* path: decoded; NULL before the head was read */
    char method[8], id[132];
    char *origin;
    const struct route *route;
    uint64_t tenant;
    int64_t arrival_us;
    bool head_seen, id_given, http10, chunked;
    /* answer */
    struct err err; /* found in the head; answered after the body was dropped */
    struct buf body;
    bool in_handler, handler_ret_no, suspended, answered, completed, dead, watched, close,
        streaming;
    bool ended; /* nothing more will be appended to out */
    int status, retry_after;
    const char *allow;
    struct buf out;
    size_t out_at;
    int64_t out_since_us; /* since when the reader made no progress */
    /* work off the loop */
    bool started, job_pending;
    void (*job)(struct req *), (*job_done)(struct req *);
    uv_work_t work;
    int job_st;
    struct err job_err;
    struct buf job_out;
    /* generation */
    bool is_gen, is_admitted, queue_asked;
    struct genreq g;
    struct choice *choice;
    int32_t n_choices, n_open, n_left; /* n_open: the engine still owes an end; n_left: not done */
    char object_id[48];
    int64_t created;
    struct buf pre; /* the constant beginning of every event or answer */
};

struct slot {
    uint32_t gen;
    struct choice *c;
    uint32_t next_free;
};

struct key {
    unsigned char bytes[256];
    uint32_t n;
    uint64_t tenant;
};
struct keys {
    struct key *v;
    int32_t n;
};

struct lingering;
struct newcomer;

struct http {
    struct http_config c;
    char **own; /* the config's strings */
    int n_own;
    struct keys keys;
    int port, listen_fd, guard_fd, watch_fd;
    uv_loop_t loop;
    uv_async_t async;
    uv_poll_t poll_mhd, poll_watch, poll_listen, poll_guard;
    uv_timer_t timer, sweep;
    uv_idle_t more;
    uv_signal_t sig_term, sig_int, sig_usr2;
    bool loop_open, listening, listen_paused, sweeping;
    void *mhd;
    struct mbox *outbox;
    /* set by other threads */
    _Atomic int load;
    _Atomic(const char *) phase;
    _Atomic int progress_ppm;
    _Atomic int drain_asked; /* 0, 1 = drain, 2 = now */
    struct http_service s;   /* valid once load == LOAD_READY */
    char fingerprint[64];
    /* loop thread */
    int run;
    int64_t run_since_us, start_unix_s;
    int64_t failed_us; /* when the engine was found failed; 0 = it works */
    int cut_short;     /* the second signal's number */
    struct conn *conns;
    int n_conns;
    struct req *reqs; /* completed ones too, until the engine let go */
    int n_reqs, n_active;
    struct slot *slot;
    uint32_t n_slots, free_slot;
    int32_t n_live, max_live;
    struct newcomer *newcomers;
    struct lingering *lingers;
    int n_new, n_lingers;
    struct buf peek;
    struct engine_stats stats;
    bool has_stats;
    struct metrics m;
    struct buf scratch;
    uint64_t rng[2];
};

/* server_mhd.c: microhttpd's callbacks and answers */
int mhd_start(struct http *h, struct err *e);
void mhd_stop(struct http *h);
int mhd_poll_fd(struct http *h);
void mhd_add(struct http *h, int fd, const void *addr, unsigned addr_len);
/* Runs microhttpd until it is idle; returns ms until it wants to run again, -1 = never, 0 = now. */
int64_t mhd_turn(struct http *h);
void mhd_resume(struct req *r);
/* Answer once; wakes the connection when it sleeps. */
void reply(struct req *r, int status, const char *ctype, const char *body, size_t n);
void reply_error(struct req *r, const struct err *e);
void reply_fail(struct req *r, int st, const char *text);
void stream_begin(struct req *r); /* status line and head now; body from r->out */
void req_sleep(struct req *r);    /* inside the handler: no answer yet */
void req_drop(struct req *r);     /* the client is gone or must go */
void req_release(struct req *r);  /* frees it when nobody needs it any more */

/* server.c */
void server_pump(struct http *h);
void server_random(struct http *h, char *hex, int n);
bool server_engine_ok(struct http *h);
void server_slots(struct http *h);
void server_need_sweep(struct http *h);

/* accept.c: the listener and what happens before microhttpd, or without it */
int accept_open(struct http *h, struct err *e);
void accept_init(struct http *h);
void accept_start(struct http *h);
bool accept_sweep(struct http *h, int64_t now);
void accept_stop(struct http *h);
void accept_close(struct http *h);
void accept_fini(struct http *h);
void accept_linger(struct http *h, int fd);
void answer_raw(struct http *h, int fd, const struct err *e, const char *id, bool head_only);

/* route.c */
enum { M_GET = 1, M_POST = 2 };
struct route {
    const char *path, *name;
    int methods;
    bool open, needs_model, generates;
    void (*run)(struct req *r);
};
/* Sets r->path and r->route. 0, ST_BAD_REQUEST, ST_NOT_FOUND. */
int route_find(struct req *r, struct err *e);
const char *route_allow(const struct route *t);
const char *route_tail(const struct req *r); /* {id} of /v1/models/{id} */

/* auth.c */
int keys_load(struct keys *k, const char *file, const char *extra, struct err *e);
void keys_free(struct keys *k);
/* Constant time over all keys. False = refuse. */
bool keys_check(const struct keys *k, const char *key, size_t n, uint64_t *tenant);

/* api_gen.c */
void req_job(struct req *r, void (*job)(struct req *), void (*done)(struct req *));
void api_completions(struct req *r);
void api_chat(struct req *r);
/* stream.c: records of the engine to text */
void gen_start(struct req *r); /* choices are set up and submitted */
void gen_outbox(struct http *h, const struct msg_outbox *m, size_t n);
void gen_fail(struct req *r, const struct err *e);
void gen_cancel(struct req *r, int reason);
void gen_sweep(struct req *r, int64_t now);
void gen_end_choice_engine(struct choice *c);
void gen_free(struct req *r);
/* " prompt_tokens=… finish=…" for the access line; "" when nothing was generated. */
void gen_summary(const struct req *r, char *out, size_t n);
/* events.c: the text of answers */
void event_prefix(struct req *r);
void event_token(struct req *r, struct choice *c, const struct buf *text, bool last);
void event_done(struct req *r);
void answer_json(struct req *r, struct buf *out);
void logprob_add(struct choice *c, const struct out_rec *rec, const struct token_logprob *top);

/* api_admin.c */
void api_models(struct req *r);
void api_model(struct req *r);
void api_health(struct req *r);
void api_ready(struct req *r);
void api_live(struct req *r);
void api_version(struct req *r);
void api_metrics(struct req *r);
void api_tokenize(struct req *r);
void api_detokenize(struct req *r);

#endif
