/* SPDX-License-Identifier: Apache-2.0 */
/* props.c - GET /props under llama.cpp's names and GET /tokenizer_info under vLLM's. Loop thread.
 */
#include "props.h"

#include "json_out.h"
#include "reply.h"
#include "state.h"
#include "text_info.h"

#include <string.h>

static void put_text(struct buf *b, const char *key, const struct buf *v)
{
    out_fmt(b, ",\"%s\":", key);
    out_json(b, v && v->p ? v->p : "", v && v->p ? v->n : 0);
}

static void put_name(struct buf *b, const char *key, const char *name)
{
    out_fmt(b, ",\"%s\":", key);
    out_json(b, name, strlen(name));
}

/* What a request that says nothing gets. */
static void put_params(struct buf *b, const struct api_service *s)
{
    out_fmt(b,
            "\"params\":{\"n_predict\":-1,\"max_tokens\":-1,\"seed\":-1,\"temperature\":%g,"
            "\"top_k\":%d,\"top_p\":%g,\"min_p\":%g,\"repeat_penalty\":%g,"
            "\"presence_penalty\":0,\"frequency_penalty\":0,\"ignore_eos\":false,\"stream\":false,"
            "\"n_probs\":0,\"stop\":[]}",
            s->temperature >= 0 ? s->temperature : 1.0, s->top_k >= 0 ? s->top_k : 0,
            s->top_p >= 0 ? s->top_p : 1.0, s->min_p >= 0 ? s->min_p : 0.0,
            s->repetition > 0 ? s->repetition : 1.0);
}

/* model_path is the served name: where files lie is not told. */
void api_props(struct req *r)
{
    const struct api *a = r->service;
    const struct api_service *s = &a->s;
    const struct text_info *t = s->info;
    struct buf b = {.soft = true};
    out_fmt(&b, "{\"default_generation_settings\":{\"n_ctx\":%d,", s->limits.max_model_len);
    put_params(&b, s);
    out_fmt(&b, "},\"total_slots\":%d", s->limits.max_seqs);
    put_name(&b, "model_alias", a->names.v[0]);
    put_name(&b, "model_path", a->names.v[0]);
    out_str(&b, ",\"modalities\":{\"vision\":false,\"audio\":false}");
    put_text(&b, "chat_template", t ? &t->template : NULL);
    put_text(&b, "bos_token", t ? &t->bos : NULL);
    put_text(&b, "eos_token", t ? &t->eos : NULL);
    out_str(&b, ",\"build_info\":\"quire-" QUIRE_VERSION "\"}");
    if (b.oom)
        reply_fail(r, ST_NOMEM, "The server is short of memory; try again later.");
    else
        reply(r, 200, "application/json", b.p, b.n);
    buf_free(&b);
}

void api_tokenizer_info(struct req *r)
{
    const struct api *a = r->service;
    const struct text_info *t = a->s.info;
    if (!a->c->tokenizer.info_endpoint || !t || !t->config.p)
        reply_fail(r, ST_NOT_FOUND,
                   "This endpoint is switched off: it shows the tokenizer's whole configuration. "
                   "The setting tokenizer.info_endpoint: true switches it on.");
    else
        reply(r, 200, "application/json", t->config.p, t->config.n);
}
