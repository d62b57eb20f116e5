/* SPDX-License-Identifier: Apache-2.0 */
/* stream.h - a stream: one generation request on the loop thread, from admission to its last event.
 * Its choices are sequences of the engine, whose records become text; with "stream": false the text
 * is collected and answered at once.
 */
#ifndef QUIRE_API_STREAM_H
#define QUIRE_API_STREAM_H

#include "detok.h"
#include "genreq.h"
#include "handler.h"
#include "state.h"
#include "stop.h"
#include "tenant.h"

struct stream;
struct scores;

/* Log probabilities, comma separated; chat: whole entries in `tokens`. */
struct lp {
    struct buf tokens, token_logprobs, top_logprobs, text_offset;
};

/* One sequence of a request: what the engine knows as a req_id. */
struct choice {
    struct stream *s;
    req_id id; /* 0 = not in the engine (any more) */
    int32_t prompt, index;
    bool done;             /* nothing more is shown: finished, stopped by text, or given up */
    bool cancel_pending;   /* the engine's inbox was full: the sweep tells it again ... */
    int32_t cancel_reason; /* ... with this reason */
    bool started;          /* has sent its first chat chunk */
    int32_t n_tokens;      /* counted in usage */
    int32_t n_cached;
    int64_t first_us, last_us, queue_us;
    struct detok detok;
    struct stopper stopper;
    bool held;            /* streaming: text (maybe ""), logprobs or an end wait for the client */
    struct buf text;      /* non-streaming: all of it; streaming: what is held */
    struct lp lp;         /* of its tokens since they were last written out */
    struct buf token_ids; /* return_token_ids: comma separated, since last written out */
    double sum_logprob;   /* of its tokens; best_of */
    int64_t offset, emitted;      /* code points: text_offset of the last token; of text so far */
    const char *finish;           /* NULL while running */
    int32_t stop_string, stop_id; /* -1 */
};

struct stream { /* r->user */
    struct api *a;
    struct req *r;
    const struct shape *shape; /* how it is answered (events.h) */
    struct genreq g;
    int st;         /* of making g ... */
    struct err err; /* ... and why */
    bool admitted;  /* all its choices are in the engine */
    bool entered;   /* it counts as one of its tenant's in flight, with: */
    struct tenant_need need;
    bool queue_asked;
    struct choice *choice;             /* [n_choices] */
    struct scores *scores;             /* [g.n_prompts], NULL: not asked for */
    int32_t n_choices, n_open, n_left; /* n_open: the engine still owes an end; n_left: not done */
    int32_t n_held;                    /* choices that hold something back */
    bool prompt_shown;                 /* chat: the ids of the prompt were sent */
    char object_id[48];
    int64_t created;
    struct buf pre;   /* the constant beginning of every event or answer */
    struct buf whole; /* responses, streaming: all of the text so far */
    int64_t n_events; /* responses, streaming: sent so far */
};

/* g was made: set up the choices and submit them; or refuse. */
void stream_begin(struct stream *s);
/* End it: an error before the answer, an error event after. */
void stream_fail(struct stream *s, const struct err *e);
/* What the engine posted. */
void stream_outbox(struct api *a, const struct msg_outbox *m, size_t n);
/* The engine is gone: none of its ends will come. */
void stream_abandon_all(struct api *a);

/* The handler's part (handler.h); r->user is the stream. */
void stream_gone(struct req *r);
void stream_failed(struct req *r, const struct err *e);
void stream_sweep(struct req *r, int64_t now);
bool stream_busy(const struct req *r);
void stream_line(const struct req *r, char *out, size_t n);
void stream_free(struct req *r);

#endif
