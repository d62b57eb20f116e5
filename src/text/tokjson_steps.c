/* SPDX-License-Identifier: Apache-2.0 */
/* tokjson_steps.c - tokenizer.json's normalizer, pre_tokenizer, decoder and post_processor.
 *
 * Sequences may nest, up to a fixed depth. Whatever the file asks for and we lack is refused by
 * name. One thread, at load. */
#include "tokjson_steps.h"

#include "mem.h"
#include "utf8.h"

#include <string.h>

enum { MAX_NEST = 8 };

/* The component's "type"; ST_FORMAT when it has none. */
static int js_type(const char **type, const cJSON *o, const char *what, struct err *e)
{
    *type = js_str(o, "type");
    if (!*type)
        return err_set(e, ST_FORMAT, "tokenizer: a %s has no type", what);
    return 0;
}

static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static int unsupported(struct err *e, const char *what, const char *type)
{
    return err_set(e, ST_UNSUPPORTED, "tokenizer: %s %s is not supported", what, type);
}

/* {"String": s} or {"Regex": r}: exactly one of *lit, *rx is set. */
static int js_pattern(const char **lit, struct rx **rx, const cJSON *o, struct err *e)
{
    const cJSON *p = js_get(o, "pattern");
    const char *re = js_str(p, "Regex");
    *lit = js_str(p, "String");
    *rx = NULL;
    if (cJSON_IsString(p))
        *lit = p->valuestring;
    if (*lit)
        return 0;
    if (!re)
        return err_set(e, ST_FORMAT, "tokenizer: a pattern is neither String nor Regex");
    return rx_new(rx, re, strlen(re), e);
}

/* A string of exactly one code point. */
static int js_char(const char **out, const cJSON *o, const char *name, const char *otherwise,
                   struct err *e)
{
    const char *s = js_str(o, name);
    *out = s ? s : otherwise;
    if (!*out || !**out || strlen(*out) != utf8_len((unsigned char)**out))
        return err_set(e, ST_FORMAT, "tokenizer: %s is not one character", name);
    return 0;
}

/* ---- normalizer ---- */

static int norm_kind_of(const char *type, enum norm_kind *kind)
{
    static const struct {
        const char *name;
        enum norm_kind kind;
    } known[] = {{"NFC", NORM_NFC},
                 {"NFD", NORM_NFD},
                 {"NFKC", NORM_NFKC},
                 {"NFKD", NORM_NFKD},
                 {"Lowercase", NORM_LOWERCASE},
                 {"Prepend", NORM_PREPEND},
                 {"Replace", NORM_REPLACE},
                 {"Strip", NORM_STRIP},
                 {"StripAccents", NORM_STRIP_ACCENTS}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].name, type) == 0) {
            *kind = known[i].kind;
            return 0;
        }
    return -1;
}

static int norm_add(struct normalizer *m, const char *type, const cJSON *o, struct err *e)
{
    struct norm_step step = {0};
    const char *to = NULL, *from = NULL;
    int st = 0;
    if (norm_kind_of(type, &step.kind))
        return unsupported(e, "normalizer", type);
    if (m->n == MAX_NORM_STEPS)
        return err_set(e, ST_UNSUPPORTED, "tokenizer: more than %d normalizer steps",
                       MAX_NORM_STEPS);
    if (step.kind == NORM_PREPEND)
        to = js_str(o, "prepend");
    if (step.kind == NORM_REPLACE) {
        to = js_str(o, "content");
        st = js_pattern(&from, &step.rx, o, e);
    }
    if (st)
        return st;
    step.left = js_bool(o, "strip_left", true);
    step.right = js_bool(o, "strip_right", true);
    if (!to && (step.kind == NORM_PREPEND || step.kind == NORM_REPLACE)) {
        rx_free(step.rx);
        return err_set(e, ST_FORMAT, "tokenizer: normalizer %s lacks its text", type);
    }
    step.from = from ? xstrdup(from) : NULL;
    step.from_n = from ? strlen(from) : 0;
    step.to = to ? xstrdup(to) : NULL;
    step.to_n = to ? strlen(to) : 0;
    m->step[m->n++] = step;
    return 0;
}

static int normalizer_at(struct normalizer *m, const cJSON *o, int depth, struct err *e)
{
    const char *type;
    const cJSON *c;
    int st = js_type(&type, o, "normalizer", e);
    if (st || strcmp(type, "Sequence") != 0)
        return st ? st : norm_add(m, type, o, e);
    if (depth == MAX_NEST)
        return unsupported(e, "a deeply nested", type);
    cJSON_ArrayForEach(c, js_get(o, "normalizers"))
    {
        st = normalizer_at(m, c, depth + 1, e);
        if (st)
            return st;
    }
    return 0;
}

int js_normalizer(struct normalizer *m, const cJSON *o, struct err *e)
{
    return !o || cJSON_IsNull(o) ? 0 : normalizer_at(m, o, 0, e);
}

/* ---- pre-tokenizer ---- */

static int js_behavior(enum split_how *how, const char *name, struct err *e)
{
    static const char *const known[] = {"Removed", "Isolated", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    for (int i = 0; name && i < 5; i++)
        if (strcmp(known[i], name) == 0) {
            *how = (enum split_how)i;
            return 0;
        }
    return err_set(e, ST_FORMAT, "tokenizer: unknown split behavior %s", name ? name : "(none)");
}

/* prepend_scheme, or the older add_prefix_space. */
static int js_prepend(enum prefix_how *how, const cJSON *o, struct err *e)
{
    const char *s = js_str(o, "prepend_scheme");
    if (!s)
        *how = js_bool(o, "add_prefix_space", true) ? PREFIX_ALWAYS : PREFIX_NEVER;
    else if (strcmp(s, "always") == 0)
        *how = PREFIX_ALWAYS;
    else if (strcmp(s, "first") == 0)
        *how = PREFIX_FIRST;
    else if (strcmp(s, "never") == 0)
        *how = PREFIX_NEVER;
    else
        return err_set(e, ST_FORMAT, "tokenizer: unknown prepend_scheme %s", s);
    return 0;
}

static int pre_metaspace(struct pre_step *step, const cJSON *o, struct err *e)
{
    const char *c;
    int st = js_char(&c, o, "replacement", "\xE2\x96\x81", e);
    if (st)
        return st;
    step->kind = PRE_METASPACE;
    step->lit = xstrdup(c);
    step->lit_n = strlen(c);
    step->split = js_bool(o, "split", true);
    step->how = SPLIT_MERGED_NEXT;
    return js_prepend(&step->prefix, o, e);
}

static int pre_split(struct pre_step *step, const cJSON *o, struct err *e)
{
    const char *lit;
    int st = js_behavior(&step->how, js_str(o, "behavior"), e);
    if (st == 0)
        st = js_pattern(&lit, &step->rx, o, e);
    if (st)
        return st;
    step->kind = PRE_SPLIT;
    step->invert = js_bool(o, "invert", false);
    if (lit) {
        step->lit = xstrdup(lit);
        step->lit_n = strlen(lit);
    }
    return 0;
}

/* One component but Sequence into *step. */
static int pre_one(struct pre_step *step, const char *type, const cJSON *o, struct err *e)
{
    if (strcmp(type, "Split") == 0)
        return pre_split(step, o, e);
    if (strcmp(type, "Metaspace") == 0)
        return pre_metaspace(step, o, e);
    if (strcmp(type, "ByteLevel") == 0) {
        step->kind = PRE_BYTE_LEVEL;
        step->how = SPLIT_ISOLATED;
        step->prefix = js_bool(o, "add_prefix_space", true) ? PREFIX_ALWAYS : PREFIX_NEVER;
        return js_bool(o, "use_regex", true)
                   ? rx_new(&step->rx, gpt2_pattern, sizeof gpt2_pattern - 1, e)
                   : 0;
    }
    if (strcmp(type, "Digits") == 0) {
        step->kind = PRE_DIGITS;
        step->how = js_bool(o, "individual_digits", false) ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS;
        return 0;
    }
    if (strcmp(type, "Punctuation") == 0) {
        step->kind = PRE_PUNCTUATION;
        step->how = SPLIT_ISOLATED;
        return js_str(o, "behavior") ? js_behavior(&step->how, js_str(o, "behavior"), e) : 0;
    }
    if (strcmp(type, "Whitespace") == 0) {
        step->kind = PRE_WHITESPACE;
        return 0;
    }
    if (strcmp(type, "WhitespaceSplit") == 0) {
        step->kind = PRE_WHITESPACE_SPLIT;
        step->how = SPLIT_REMOVED;
        return 0;
    }
    if (strcmp(type, "CharDelimiterSplit") == 0) {
        const char *c = NULL;
        int st = js_char(&c, o, "delimiter", NULL, e);
        if (st)
            return st;
        step->kind = PRE_SPLIT;
        step->how = SPLIT_REMOVED;
        step->lit = xstrdup(c);
        /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): st is not 0 where c is NULL */
        step->lit_n = strlen(c);
        return 0;
    }
    return unsupported(e, "pre_tokenizer", type);
}

static int pre_add(struct pretok *p, const char *type, const cJSON *o, struct err *e)
{
    bool bert = strcmp(type, "BertPreTokenizer") == 0;
    int st;
    if (p->n + 2 > MAX_PRE_STEPS)
        return err_set(e, ST_UNSUPPORTED, "tokenizer: more than %d pre_tokenizer steps",
                       MAX_PRE_STEPS - 1);
    /* The byte-level alphabet is in the vocabulary, so nothing may look at the text after it. */
    if (p->n && p->step[p->n - 1].kind == PRE_BYTE_LEVEL)
        return unsupported(e, "after ByteLevel, pre_tokenizer", type);
    if (bert) {
        p->step[p->n++] = (struct pre_step){.kind = PRE_WHITESPACE_SPLIT, .how = SPLIT_REMOVED};
        p->step[p->n++] = (struct pre_step){.kind = PRE_PUNCTUATION, .how = SPLIT_ISOLATED};
        return 0;
    }
    st = pre_one(&p->step[p->n], type, o, e);
    p->n++; /* also on failure: pretok_fini frees what the step holds */
    return st;
}

static int pretok_at(struct pretok *p, const cJSON *o, int depth, struct err *e)
{
    const char *type;
    const cJSON *c;
    int st = js_type(&type, o, "pre_tokenizer", e);
    if (st || strcmp(type, "Sequence") != 0)
        return st ? st : pre_add(p, type, o, e);
    if (depth == MAX_NEST)
        return unsupported(e, "a deeply nested", type);
    cJSON_ArrayForEach(c, js_get(o, "pretokenizers"))
    {
        st = pretok_at(p, c, depth + 1, e);
        if (st)
            return st;
    }
    return 0;
}

int js_pretok(struct pretok *p, bool *byte_level, const cJSON *o, struct err *e)
{
    int st = !o || cJSON_IsNull(o) ? 0 : pretok_at(p, o, 0, e);
    *byte_level = p->n && p->step[p->n - 1].kind == PRE_BYTE_LEVEL;
    return st;
}

/* ---- decoder ---- */

static int dec_strings(struct dec_step *step, const char *from, const char *to, struct err *e)
{
    if (!from || !*from || !to)
        return err_set(e, ST_FORMAT, "tokenizer: a decoder lacks its text");
    step->from = xstrdup(from);
    step->from_n = strlen(from);
    step->to = xstrdup(to);
    step->to_n = strlen(to);
    return 0;
}

static int dec_one(struct dec_step *step, const char *type, const cJSON *o, struct err *e)
{
    const char *s = NULL;
    enum prefix_how how = PREFIX_NEVER;
    int st = 0;
    if (strcmp(type, "ByteLevel") == 0) {
        step->kind = DEC_BYTE_LEVEL;
    } else if (strcmp(type, "ByteFallback") == 0) {
        step->kind = DEC_BYTE_FALLBACK;
    } else if (strcmp(type, "Fuse") == 0) {
        step->kind = DEC_FUSE;
    } else if (strcmp(type, "Replace") == 0) {
        step->kind = DEC_REPLACE;
        s = js_str(js_get(o, "pattern"), "String");
        if (!s)
            return unsupported(e, "decoder Replace without a String pattern,", "Regex");
        st = dec_strings(step, s, js_str(o, "content"), e);
    } else if (strcmp(type, "Strip") == 0) {
        int64_t start = js_int(js_get(o, "start"), INT32_MAX);
        int64_t stop = js_int(js_get(o, "stop"), INT32_MAX);
        step->kind = DEC_STRIP;
        st = js_char(&s, o, "content", NULL, e);
        if (st == 0 && (start < 0 || stop < 0))
            st = err_set(e, ST_FORMAT, "tokenizer: decoder Strip lacks start or stop");
        if (st == 0)
            st = dec_strings(step, s, "", e);
        step->start = (uint32_t)start;
        step->stop = (uint32_t)stop;
    } else if (strcmp(type, "Metaspace") == 0) {
        step->kind = DEC_METASPACE;
        st = js_char(&s, o, "replacement", "\xE2\x96\x81", e);
        if (st == 0)
            st = js_prepend(&how, o, e);
        if (st == 0)
            st = dec_strings(step, s, " ", e);
        step->drop_first = st == 0 && how != PREFIX_NEVER;
    } else {
        return unsupported(e, "decoder", type);
    }
    return st;
}

static int decoder_at(struct decoder *d, const cJSON *o, int depth, struct err *e)
{
    const char *type;
    const cJSON *c;
    int st = js_type(&type, o, "decoder", e);
    if (st)
        return st;
    if (strcmp(type, "Sequence") != 0) {
        if (d->n == MAX_DEC_STEPS)
            return err_set(e, ST_UNSUPPORTED, "tokenizer: more than %d decoder steps",
                           MAX_DEC_STEPS);
        return dec_one(&d->step[d->n++], type, o, e);
    }
    if (depth == MAX_NEST)
        return unsupported(e, "a deeply nested", type);
    cJSON_ArrayForEach(c, js_get(o, "decoders"))
    {
        st = decoder_at(d, c, depth + 1, e);
        if (st)
            return st;
    }
    return 0;
}

int js_decoder(struct decoder *d, const cJSON *o, struct err *e)
{
    return !o || cJSON_IsNull(o) ? 0 : decoder_at(d, o, 0, e);
}

/* ---- post-processor: what TOK_SPECIAL puts around a text ---- */

static void wrap(struct tok *t, const struct ids *before, const struct ids *after)
{
    struct ids front = {0};
    for (size_t i = 0; i < before->n; i++)
        ids_add(&front, before->p[i]);
    for (size_t i = 0; i < t->prefix.n; i++)
        ids_add(&front, t->prefix.p[i]);
    ids_free(&t->prefix);
    t->prefix = front;
    for (size_t i = 0; i < after->n; i++)
        ids_add(&t->suffix, after->p[i]);
}

static int add_special_ids(const struct tok *t, struct ids *to, const cJSON *ids, struct err *e)
{
    const cJSON *c;
    cJSON_ArrayForEach(c, ids)
    {
        int64_t id = js_int(c, MAX_VOCAB);
        if (!vocab_has(&t->v, (token_id)id))
            return err_set(e, ST_FORMAT, "tokenizer: post_processor names an unknown id");
        if (to->n == 64)
            return err_set(e, ST_UNSUPPORTED, "tokenizer: post_processor adds more than 64 tokens");
        ids_add(to, (token_id)id);
    }
    return 0;
}

static int post_template(struct tok *t, const cJSON *o, struct err *e)
{
    struct ids side[2] = {{0}};
    const cJSON *c, *special = js_get(o, "special_tokens");
    int seen = 0, st = 0;
    cJSON_ArrayForEach(c, js_get(o, "single"))
    {
        const cJSON *seq = js_get(c, "Sequence"), *tok = js_get(c, "SpecialToken");
        const char *id = js_str(seq ? seq : tok, "id");
        if (!id || (seq && (strcmp(id, "A") != 0 || seen++)))
            st = err_set(e, ST_FORMAT, "tokenizer: bad TemplateProcessing");
        else if (!seq)
            st = add_special_ids(t, &side[seen], js_get(js_get(special, id), "ids"), e);
        if (st)
            break;
    }
    if (st == 0 && !seen)
        st = err_set(e, ST_FORMAT, "tokenizer: TemplateProcessing drops the text");
    if (st == 0)
        wrap(t, &side[0], &side[1]);
    ids_free(&side[0]);
    ids_free(&side[1]);
    return st;
}

/* Roberta and Bert: ["</s>", 2] as sep and cls. */
static int post_pair(struct tok *t, const cJSON *o, struct err *e)
{
    struct ids side[2] = {{0}};
    static const char *const name[2] = {"cls", "sep"};
    int st = 0;
    for (int i = 0; i < 2 && st == 0; i++) {
        int64_t id = js_int(cJSON_GetArrayItem(js_get(o, name[i]), 1), MAX_VOCAB);
        if (vocab_has(&t->v, (token_id)id))
            ids_add(&side[i], (token_id)id);
        else
            st = err_set(e, ST_FORMAT, "tokenizer: post_processor lacks %s", name[i]);
    }
    if (st == 0)
        wrap(t, &side[0], &side[1]);
    ids_free(&side[0]);
    ids_free(&side[1]);
    return st;
}

static int post_at(struct tok *t, const cJSON *o, int depth, struct err *e)
{
    const char *type;
    const cJSON *c;
    int st = js_type(&type, o, "post_processor", e);
    if (st)
        return st;
    if (strcmp(type, "ByteLevel") == 0)
        return 0; /* moves offsets only */
    if (strcmp(type, "TemplateProcessing") == 0)
        return post_template(t, o, e);
    if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0)
        return post_pair(t, o, e);
    if (strcmp(type, "Sequence") != 0 || depth == MAX_NEST)
        return unsupported(e, "post_processor", type);
    cJSON_ArrayForEach(c, js_get(o, "processors"))
    {
        st = post_at(t, c, depth + 1, e);
        if (st)
            return st;
    }
    return 0;
}

int js_post(struct tok *t, const cJSON *o, struct err *e)
{
    return !o || cJSON_IsNull(o) ? 0 : post_at(t, o, 0, e);
}
