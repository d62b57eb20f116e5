/* SPDX-License-Identifier: Apache-2.0 */
/* rig.c - the rig's server: script executor, byte tokenizer, start and stop. See rig.h. */
#include "rig.h"

#include "chat.h"
#include "log.h"
#include "tokenizer.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

struct rig rig;

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

void rig_hold(struct rig *r)
{
    rig_allow(r, 0);
}

void rig_steps(struct rig *r, int64_t n)
{
    rig_allow(r, n);
}

void rig_go(struct rig *r)
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

/* Every score is -0.25 and its token the best but one; then come the bytes after it. */
static void rig_score(const struct step *s, int32_t i, struct step_result *r)
{
    const struct step_row *row = &s->rows[i];
    int32_t at = step_result_add_scores(r, i, row->n_score);
    for (int32_t k = 0; k < row->n_score; k++, at++) {
        token_id t = k + 1 < row->n ? s->tokens[row->token0 + k + 1] : row->next;
        r->score[at] = -0.25f;
        r->score_rank[at] = 2;
        for (int32_t j = 0; j < row->n_score_top; j++)
            r->score_top[at][j] = (struct token_logprob){j == 1 ? t : (t + j + 1) % 256,
                                                         j == 1 ? -0.25f : -0.125f - (float)j};
    }
}

static token_id last_of(const struct step *s, int32_t i)
{
    return s->tokens[s->rows[i].token0 + s->rows[i].n - 1];
}

static int rig_wait(void *self, int slot, struct step_result *r)
{
    struct rig_exec *x = self;
    const struct step *s = x->step[slot];
    int64_t us = atomic_load(&x->step_us), eos_at = atomic_load(&x->eos_at);
    rig_gate(x);
    int st = atomic_exchange(&x->fail, 0);
    if (us && !(s->kind == STEP_PREFILL && atomic_load(&x->prefill_free)))
        usleep((useconds_t)us);
    atomic_fetch_add(&x->steps, 1);
    if (st)
        return st;
    for (int32_t i = 0; i < s->n_rows; i++) {
        int32_t want = s->rows[i].want;
        int32_t n = want == STEP_WANT_SAMPLE, j = step_result_add(r, i, n);
        rig_score(s, i, r);
        bool vector = want == STEP_WANT_HIDDEN || want == STEP_WANT_MEAN;
        if (vector && last_of(s, i) == '!')
            step_result_undo(r, i, ST_NUMERIC);
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

static int rig_hidden(void *self, int slot, int32_t i, float *dst)
{
    const struct step *s = ((struct rig_exec *)self)->step[slot];
    bool mean = s->rows[i].want == STEP_WANT_MEAN;
    for (int j = 0; j < RIG_DIM; j++) {
        float v = (float)(1 + j) + (float)last_of(s, i) / 100;
        dst[j] = mean ? -v : v;
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

void rig_set(struct rig *r, const char *path, const char *text)
{
    struct err e;
    if (config_set(&r->c, path, text, &e) != 0)
        fail_msg("%s", e.msg);
}

void rig_defaults(struct rig *r)
{
    static const char script[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    *r = (struct rig){.limits = {.watchdog_us = 10000000, .failed_exit_us = 500000},
                      .f = {.n_pages = 4096,
                            .n_lanes = 1,
                            .max_model_len = 2048,
                            .vocab = RIG_VOCAB,
                            .hidden_dim = RIG_DIM,
                            .steps_in_flight = MAX_INFLIGHT,
                            .n_eos = 1,
                            .eos = {RIG_EOS},
                            .cache_seed = 7}};
    config_defaults(&r->c);
    r->c.scheduler.max_seqs = 256; /* auto is for who knows the device */
    r->c.limits.queue_size = 512;
    rig_set(r, "http.listen", "127.0.0.1:0");
    rig_set(r, "model.served_names", "tiny,other/name");
    r->c.scheduler.max_step_tokens = 4096;
    r->c.drain.delay = 0;
    r->c.drain.timeout = 5000000;
    log_set(LOG_WARN, LOG_TEXT);
    r->ex.script = script;
    r->ex.n_script = sizeof script - 1;
    pthread_mutex_init(&r->ex.lock, NULL);
    pthread_cond_init(&r->ex.moved, NULL);
    r->ex.may = -1;
}

void rig_listen(struct rig *r)
{
    struct err e = {0};
    if (api_new(&r->a, &r->c, &r->limits, &e) != 0)
        fail_msg("api_new: %s", e.msg);
    r->h = api_http(r->a);
    r->port = http_port(r->h);
    assert_int_equal(pthread_create(&r->loop, NULL, rig_loop, r), 0);
}

void rig_load(struct rig *r)
{
    struct err e = {0};
    struct executor ex = {.self = &r->ex,
                          .submit = rig_submit,
                          .wait = rig_wait,
                          .ready = rig_ready,
                          .hidden = rig_hidden,
                          .hidden_dim = RIG_DIM};
    struct text_source none = {.bos_id = -1, .eos_id = -1};
    static const char template[] =
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
    none.chat_template_jinja = (struct view){template, sizeof template - 1};
    if (r->template)
        none.chat_template_jinja = (struct view){r->template, strlen(r->template)};
    rig_tok(&r->tok);
    if (chat_open(&r->chat, &none, &e) != 0)
        fail_msg("chat_open: %s", e.msg);
    if (engine_new(&r->en, &r->c, &r->f, &ex, api_outbox(r->a), &e) != 0)
        fail_msg("engine_new: %s", e.msg);
    assert_int_equal(engine_start(r->en, &e), 0);
    struct api_service s = {.tok = r->tok,
                            .chat = r->chat,
                            .engine = r->en,
                            .created_unix_s = 1700000000,
                            .fingerprint = "fp_000000000000",
                            .temperature = -1,
                            .top_p = -1,
                            .min_p = -1,
                            .top_k = -1};
    engine_limits_of(&s.limits, &r->c, &r->f);
    api_set_ready(r->a, &s);
}

void rig_start(struct rig *r)
{
    rig_listen(r);
    rig_load(r);
}

void rig_end(struct rig *r)
{
    pthread_join(r->loop, NULL);
    rig_go(r);
    if (r->en)
        engine_stop(r->en, ST_DRAINING);
    api_free(r->a);
    engine_free(r->en);
    chat_close(r->chat);
    tok_close(r->tok);
    config_free(&r->c);
}

void rig_stop(struct rig *r)
{
    rig_go(r);
    http_drain(r->h, false);
    rig_end(r);
}

int rig_up(void **state)
{
    (void)state;
    rig_defaults(&rig);
    rig_start(&rig);
    return 0;
}

int rig_down(void **state)
{
    (void)state;
    rig_stop(&rig);
    return rig.result;
}
