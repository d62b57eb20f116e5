/* SPDX-License-Identifier: Apache-2.0 */
/* daemon.c - from settings to something that serves. See daemon.h.
 *
 * Loader thread. Decides what `auto` means (device, engine depth, lengths) and turns each kind of
 * failure into the exit code its operator's tooling expects.
 */
#include "daemon.h"

#include "chat.h"
#include "clock.h"
#include "log.h"
#include "ops.h"
#include "tokenizer.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { AUDIT_EVERY = 4096 }; /* turns: a full recount costs about a step, so it is sampled */

/* ---- files and text ---- */

static void name_path(struct err *e, const char *path)
{
    const struct err was = *e;
    if (!strstr(was.msg, path))
        err_set(e, was.st, "%.256s: %s", path, was.msg);
}

/* What ends a generation decides over every answer, so it is said at the start. */
static int open_ends(struct daemon *d, struct err *e)
{
    struct buf text = {0};
    int st = ends_find(&d->ends, model_source_text(d->source), d->tok,
                       model_source_config(d->source)->vocab, e);
    if (st != 0)
        return st;
    ends_text(&d->ends, d->tok, &text);
    if (d->ends.n)
        log_info("model.ends", "n=%d ids=\"%s\"", (int)d->ends.n, text.p);
    else
        log_warn("model.ends", "n=0 note=\"generations end at their maximum only\"");
    buf_free(&text);
    return 0;
}

static int open_text(struct daemon *d, const struct config *c, struct err *e)
{
    const struct text_source *text = model_source_text(d->source);
    int st = tok_open(&d->tok, text, e);
    if (st == 0)
        st = chat_open(&d->chat, text, e);
    if (st == ST_NOT_FOUND && d->tok) {
        log_warn("model.no_template", "chat_completions=\"answered 400\"");
        st = 0;
    }
    st = st ? st : text_info_read(&d->info, text, c->tokenizer.info_endpoint, e);
    return st ? st : open_ends(d, e);
}

int daemon_open_files(struct daemon *d, const struct config *c, struct err *e)
{
    const struct model_source_opts o = {
        .path = c->model.path, .dummy = c->model.load_format == CONF_LOAD_DUMMY, .seed = 1};
    if (!c->model.path[0]) {
        err_set(e, ST_NOT_FOUND,
                "no model is set: give its folder or .gguf file as model.path in a file named with "
                "--config FILE, or with --set model.path=PATH; --help lists the settings");
        return EXIT_NO_MODEL;
    }
    if (access(c->model.path, R_OK) != 0) {
        int why = errno;
        err_set(e, ST_NOT_FOUND,
                "cannot read the model at model.path '%s': %s; it must be a folder with a "
                "config.json or a .gguf file (set it in the configuration file, or with --set "
                "model.path=PATH)",
                c->model.path, strerror(why));
        return EXIT_NO_MODEL;
    }
    int64_t t0 = clock_us();
    if (model_source_open(&d->source, &o, e) != 0)
        return EXIT_NO_MODEL;
    int64_t t1 = clock_us();
    int st = open_text(d, c, e);
    int changed = model_source_check(d->source, e); /* then any other reason is a consequence */
    if (changed != 0 || st != 0) {
        if (!changed)
            name_path(e, c->model.path);
        return EXIT_NO_MODEL;
    }
    const struct model_config *m = model_source_config(d->source);
    if (tok_vocab(d->tok) > m->vocab)
        log_warn("model.vocabulary", "tokenizer=%d model=%d note=\"the ids above are refused\"",
                 (int)tok_vocab(d->tok), (int)m->vocab);
    log_info("model.files", "family=%s layers=%d files_ms=%.1f text_ms=%.1f", m->family,
             (int)m->n_layers, (double)(t1 - t0) / 1e3, (double)(clock_us() - t1) / 1e3);
    return 0;
}

/* ---- device ---- */

static int open_backend(struct daemon *d, const struct config *c, struct err *e)
{
    struct be_config b = {.kind = BE_CUDA,
                          .threads = (int32_t)c->cpu.threads,
                          .index = (int32_t)c->cuda.index,
                          .memory_utilization = c->cuda.gpu_memory_utilization,
                          .graphs = c->cuda.graphs};
    if (c->device != CONF_DEVICE_CPU) {
        if (be_open(&d->be, &b, e) == 0)
            return 0;
        if (c->device == CONF_DEVICE_CUDA)
            return EXIT_NO_GPU;
        log_info("device.auto", "choice=cpu reason=\"%s\"", e->msg);
    }
    b.kind = BE_CPU;
    return be_open(&d->be, &b, e) == 0 ? 0 : EXIT_OS;
}

/* ---- model and engine ---- */

static const char *const dtype_names[N_DTYPES] = {
    [DT_F32] = "float32", [DT_BF16] = "bfloat16", [DT_F16] = "float16"};

static void on_progress(void *arg, const char *phase, double fraction)
{
    api_set_progress(arg, phase, fraction);
}

static int load_failure(const struct daemon *d, int st)
{
    switch (st) {
    case ST_NOMEM:
        return EXIT_OS;
    case ST_DEVICE:
    case ST_DEVICE_RETRY:
        return d->be->info.kind == BE_CUDA ? EXIT_NO_GPU : EXIT_INTERNAL;
    case ST_INVALID_VALUE:
        return EXIT_CONFIG;
    case ST_FORMAT:
    case ST_UNSUPPORTED:
    case ST_IO:
        return EXIT_NO_MODEL;
    default:
        return EXIT_INTERNAL;
    }
}

/* What the model computes in; -1 = the backend's own choice. On a GPU `auto` is the type the
 * weights are stored in; for quantised files, whose scales are f16, that is f16: it rounds eight
 * times finer than bf16. What is stored in f32 may need bf16's range. */
static int32_t model_dtype(const struct daemon *d, const struct config *c)
{
    static const char *const wide[] = {"bfloat16", "BF16", "float32", "F32", ""};
    if (c->model.dtype != CONF_MODEL_AUTO)
        return c->model.dtype == CONF_MODEL_F16 ? DT_F16 : DT_BF16;
    if (d->be->info.kind != BE_CUDA)
        return -1;
    const char *stored = model_source_config(d->source)->torch_dtype;
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        if (strcmp(stored, wide[i]) == 0)
            return DT_BF16;
    return DT_F16;
}

static int32_t kv_dtype(const struct daemon *d, const struct config *c)
{
    static const int32_t dt[] = {-1, DT_F32, DT_BF16, DT_F16}; /* by CONF_DTYPE_* */
    if (c->kv.dtype != CONF_DTYPE_AUTO)
        return dt[c->kv.dtype];
    return d->be->info.kind == BE_CUDA ? model_dtype(d, c) : d->be->info.kv_dt;
}

/* auto is one, see kernels/README.md. */
static int32_t n_lanes_of(const struct config *c)
{
    return c->scheduler.lanes == CONF_LANES_2 ? 2 : 1;
}

/* What the settings leave to model and device. */
static void settle_auto(const struct daemon *d, struct config *c)
{
    int64_t most = c->scheduler.max_step_tokens;
    if (c->scheduler.max_seqs == 0) {
        int64_t n = model_auto_seqs(d->source, d->be, n_lanes_of(c));
        c->scheduler.max_seqs = n < most ? n : most;
    }
}

/* Where a GPU's measured products are kept: as set, or quired/gemm in the cache folder of the user,
 * made if need be. false: nowhere, so nothing is measured. */
static bool gemm_cache(const struct daemon *d, const struct config *c, char *path, size_t size)
{
    const char *set = c->cuda.gemm_cache, *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (d->be->info.kind != BE_CUDA || strcmp(set, "off") == 0 || *set == '\0')
        return false;
    if (strcmp(set, "auto") != 0)
        return snprintf(path, size, "%s", set) < (int)size;
    int n = base && *base == '/'   ? snprintf(path, size, "%s", base)
            : home && *home == '/' ? snprintf(path, size, "%s/.cache", home)
                                   : -1;
    if (n < 0 || (size_t)n + sizeof "/quired/gemm" > size)
        return false;
    mkdir(path, 0700);
    snprintf(path + n, size - (size_t)n, "/quired");
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return false;
    snprintf(path + n, size - (size_t)n, "/quired/gemm");
    return true;
}

static int load_model(struct daemon *d, const struct config *c, struct api *a, struct err *e)
{
    int32_t dt = model_dtype(d, c);
    char cache[4096];
    const struct model_opts o = {.kv_dt = kv_dtype(d, c),
                                 .act_dt = dt,
                                 .weight_dt = dt,
                                 .warm = d->be->info.kind != BE_CUDA           ? WARM_ANSWER
                                         : c->cuda.graphs == CONF_GRAPHS_START ? WARM_GRAPHS
                                                                               : WARM_PASSES,
                                 .page_tokens = (int32_t)c->kv.page_tokens,
                                 .pool_bytes = c->kv.pool_bytes,
                                 .max_seqs = (int32_t)c->scheduler.max_seqs,
                                 .max_step_tokens = (int32_t)c->scheduler.max_step_tokens,
                                 .lanes = n_lanes_of(c),
                                 .max_model_len = (int32_t)c->model.max_model_len,
                                 .gemm_cache = gemm_cache(d, c, cache, sizeof cache) ? cache : NULL,
                                 .progress = on_progress,
                                 .progress_arg = a};
    d->dt = dt >= 0 ? dt : d->be->info.act_dt;
    d->kv_dt = o.kv_dt;
    int st = model_load(&d->model, d->source, d->be, &o, e);
    if (model_source_check(d->source, e) != 0) /* then any other reason is a consequence */
        return EXIT_NO_MODEL;
    return st == 0 ? 0 : load_failure(d, st);
}

/* Fills ex[]; how many lanes the engine gets. */
static int32_t make_lanes(const struct daemon *d, struct executor ex[MAX_LANES])
{
    int32_t n = model_lanes(d->model);
    for (int32_t i = 0; i < n; i++)
        model_executor(d->model, i, &ex[i]);
    log_info("engine.lanes", "lanes=%d shares=%d", n, n > 1 ? ex[0].n_shares : 0);
    return n;
}

static struct engine_facts facts_of(const struct daemon *d)
{
    const struct model_config *m = model_config(d->model);
    struct engine_facts f = {.n_pages = model_n_pages(d->model),
                             .max_model_len = model_max_len(d->model),
                             .vocab = m->vocab,
                             .weight_tokens = model_weight_tokens(d->model),
                             .hidden_dim = m->dim,
                             .steps_in_flight = d->be->info.kind == BE_CPU ? 1 : MAX_INFLIGHT,
                             .audit_every = AUDIT_EVERY,
                             .n_eos = d->ends.n};
    for (int32_t i = 0; i < d->ends.n; i++)
        f.eos[i] = d->ends.v[i].id;
    if (getrandom(&f.cache_seed, sizeof f.cache_seed, 0) != (ssize_t)sizeof f.cache_seed)
        f.cache_seed = (uint64_t)clock_us();
    return f;
}

static void describe(struct daemon *d, const struct config *c, const struct engine_limits *l)
{
    const struct model_config *m = model_config(d->model);
    bool own = c->sampling.defaults_from_model;
    snprintf(d->fingerprint, sizeof d->fingerprint, "fp_%012llx",
             (unsigned long long)(m->weights_id >> 16));
    d->service = (struct api_service){
        .tok = d->tok,
        .chat = d->chat,
        .engine = d->engine,
        .limits = *l,
        .created_unix_s = clock_unix_s(),
        .fingerprint = d->fingerprint,
        .temperature = own && !isnan(m->gen_temperature) ? (double)m->gen_temperature : -1,
        .top_p = own && !isnan(m->gen_top_p) ? (double)m->gen_top_p : -1,
        .min_p = own && !isnan(m->gen_min_p) ? (double)m->gen_min_p : -1,
        .repetition = own && !isnan(m->gen_repetition) ? (double)m->gen_repetition : -1,
        .top_k = own ? m->gen_top_k : -1,
        .kv_dtype = dtype_names[d->kv_dt],
        .info = &d->info};
}

int daemon_load(struct daemon *d, const struct config *given, struct api *a, struct err *e)
{
    int64_t t0 = clock_us();
    int rc = open_backend(d, given, e);
    if (rc != 0)
        return rc;
    int64_t t1 = clock_us();
    struct config settled = *given, *c = &settled;
    settle_auto(d, c);
    if ((rc = load_model(d, c, a, e)) != 0)
        return rc;
    model_source_close(d->source);
    d->source = NULL;
    int64_t t2 = clock_us();
    struct engine_facts f = facts_of(d);
    struct engine_limits l;
    struct executor ex[MAX_LANES] = {0};
    f.n_lanes = make_lanes(d, ex);
    engine_limits_of(&l, c, &f);
    int st = engine_new(&d->engine, c, &f, ex, api_outbox(a), e);
    if (st != 0)
        return st == ST_NOMEM ? EXIT_OS : EXIT_CONFIG;
    if (engine_start(d->engine, e) != 0)
        return EXIT_OS;
    describe(d, c, &l);
    log_info("model.loaded",
             "device=\"%s\" dtype=%s kv_dtype=%s pages=%d page_tokens=%d kv_bytes=%lld "
             "max_model_len=%d device_ms=%.1f weights_ms=%.1f engine_ms=%.1f",
             d->be->info.name, dtype_names[d->dt], dtype_names[d->kv_dt], (int)l.n_pages,
             (int)l.page_tokens, (long long)(model_page_bytes(d->model) * l.n_pages),
             (int)l.max_model_len, (double)(t1 - t0) / 1e3, (double)(t2 - t1) / 1e3,
             (double)(clock_us() - t2) / 1e3);
    return 0;
}

void daemon_unload(struct daemon *d)
{
    engine_free(d->engine);
    model_free(d->model);
    be_close(d->be);
    chat_close(d->chat);
    tok_close(d->tok);
    text_info_fini(&d->info);
    model_source_close(d->source);
    *d = (struct daemon){0};
}
