/* SPDX-License-Identifier: Apache-2.0 */
/* bench_tok.c - the tokenizer's processor time on one thread: load, encode and decode.
 *   bench_tok [tokenizer.json [text [chunk_bytes]]]      one JSON line
 *   bench_tok linear tokenizer.json [text...]            time a byte, 64 KiB to 4 MiB, a line a
 * text Without arguments: the SmolLM2 fixture on the texts of its goldens. The text is encoded in
 * chunks that end at a line; best of 5 rounds. scripts/bench_tok_hf.py runs this and Hugging Face's
 * tokenizers on the same files and compares the ids. `linear` repeats each text, and texts that
 * break naive tokenizers, to 4 MiB and encodes that in calls of 64 KiB and of 4 MiB.
 */
#include "../text/golden.h"

#include "detok.h"
#include "utf8.h"

#include <time.h>

/* Time of this thread, so that a busy machine spoils less. */
static double cpu_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static struct buf golden_text(void)
{
    struct buf out = {0};
    size_t n;
    char *text = golden_read(false, "goldens/encode.%s.jsonl.xz", "smollm2", &n);
    cJSON *o;
    for (char *at = text; (o = golden_line(&at)); cJSON_Delete(o)) {
        struct golden_str s = golden_str(o, "text");
        buf_add(&out, s.p, s.n);
        buf_add(&out, "\n", 1);
    }
    free(text);
    return out;
}

static size_t chunk_end(const struct buf *text, size_t at, size_t chunk)
{
    const char *nl;
    if (text->n - at <= chunk)
        return text->n;
    nl = memchr(text->p + at + chunk, '\n', text->n - at - chunk);
    return nl ? (size_t)(nl - text->p) + 1 : text->n;
}

static double encode_all(const struct tok *t, const struct buf *text, size_t chunk, struct ids *ids)
{
    double at = cpu_s();
    struct err e = {0};
    ids->n = 0;
    for (size_t i = 0; i < text->n;) {
        size_t end = chunk_end(text, i, chunk);
        if (tok_encode(t, text->p + i, end - i, TOK_PARSE_SPECIAL, ids, &e)) {
            fprintf(stderr, "%s\n", e.msg);
            exit(1);
        }
        i = end;
    }
    return cpu_s() - at;
}

static struct tok *load(const char *path)
{
    struct text_source src = {.bos_id = -1, .eos_id = -1};
    struct tok *t = NULL;
    struct err e = {0};
    char *json = read_file(path, &src.tokenizer_json.n);
    src.tokenizer_json.p = json;
    if (!json || tok_open(&t, &src, &e)) {
        fprintf(stderr, "%s: %s\n", path, json ? e.msg : "cannot read");
        exit(1);
    }
    free(json);
    return t;
}

static int speed(const char *json, const char *path, size_t chunk)
{
    double at = cpu_s(), best = 1e9, best_dec = 1e9;
    struct tok *t = json ? load(json) : golden_tok(false, "smollm2");
    double load_s = cpu_s() - at;
    struct buf text = {0}, back = {0};
    struct ids ids = {0};
    uint64_t sum = 0;
    if (path)
        text.p = read_file(path, &text.n);
    else
        text = golden_text();
    if (!t || !text.p)
        return 1;
    for (int i = 0; i < 5; i++) {
        double s = encode_all(t, &text, chunk, &ids);
        best = s < best ? s : best;
        back.n = 0;
        at = cpu_s();
        tok_decode(t, ids.p, ids.n, false, &back);
        s = cpu_s() - at;
        best_dec = s < best_dec ? s : best_dec;
    }
    for (size_t i = 0; i < ids.n; i++)
        sum = sum * 31 + (uint32_t)ids.p[i];
    printf("{\"load_s\": %.3f, \"bytes\": %zu, \"ids\": %zu, \"sum\": %llu, \"encode_MBps\": %.1f, "
           "\"decode_MBps\": %.1f}\n",
           load_s, text.n, ids.n, (unsigned long long)sum, (double)text.n / best / 1e6,
           (double)back.n / best_dec / 1e6);
    free(text.p);
    buf_free(&back);
    ids_free(&ids);
    tok_close(t);
    return 0;
}

/* ---- linear ---- */

enum { KIB = 1 << 10, N_SIZES = 2, N_ROUNDS = 3 };
static const size_t size_of[N_SIZES] = {64 * KIB, 4096 * KIB};

/* unit again and again, up to n bytes of whole code points. */
static struct buf repeated(const char *unit, size_t unit_n, size_t n)
{
    struct buf b = {0};
    while (b.n < n)
        buf_add(&b, unit, unit_n < n - b.n ? unit_n : n - b.n);
    b.n = utf8_valid_prefix(b.p, b.n);
    return b;
}

/* Random bytes made valid as a lossy reader does it. */
static struct buf noise(size_t n)
{
    struct buf raw = {0}, b = {0};
    uint64_t x = 88172645463325252u;
    while (raw.n < n) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        buf_add(&raw, &x, sizeof(x));
    }
    utf8_add_lossy(&b, raw.p, raw.n);
    buf_free(&raw);
    return b;
}

/* One encoding of all n bytes in calls of `size`, so that every size works on the same text. */
static double encode_slices(const struct tok *t, const char *s, size_t n, size_t size)
{
    struct ids ids = {0};
    double took = 0;
    for (size_t at = 0; at < n;) {
        size_t len = n - at < size ? n - at : size;
        double begin;
        len = utf8_valid_prefix(s + at, len);
        begin = cpu_s();
        ids_free(&ids);
        if (tok_encode(t, s + at, len, TOK_PARSE_SPECIAL, &ids, NULL))
            exit(1);
        took += cpu_s() - begin;
        at += len;
    }
    ids_free(&ids);
    return took;
}

/* How much more a byte costs at the last size than at the first; sizes in turn, best of the rounds.
 */
static double growth(const struct tok *t, const char *name, const struct buf *unit)
{
    struct buf text = repeated(unit->p, unit->n, size_of[1]);
    double best[N_SIZES] = {0};
    for (int round = 0; round < N_ROUNDS; round++)
        for (int i = 0; i < N_SIZES; i++) {
            double s = encode_slices(t, text.p, text.n, size_of[i]) * 1e9 / (double)text.n;
            best[i] = round && best[i] < s ? best[i] : s;
        }
    buf_free(&text);
    printf("  %-22s %7.1f %7.1f ns a byte: %.2fx\n", name, best[0], best[1], best[1] / best[0]);
    fflush(stdout);
    return best[1] / best[0];
}

static int linear(const char *json, char **paths, int n_paths)
{
    static const struct {
        const char *name, *unit;
    } hostile[] = {{"one letter", "a"},
                   {"spaces", " "},
                   {"combining marks", "\xCC\x81"},
                   {"marks of two classes", "\xCC\x81\xCC\xA7"},
                   {"CJK without spaces", "\xE4\xBD\xA0\xE5\xA5\xBD\xE4\xB8\x96\xE7\x95\x8C"},
                   {"dots", "."},
                   {"newlines", "\n"},
                   {"special tokens' text", "<|im_"}};
    struct tok *t = load(json);
    struct buf unit;
    double worst = 0, x;
    for (size_t i = 0; i < sizeof(hostile) / sizeof(*hostile); i++) {
        unit = (struct buf){.p = (char *)hostile[i].unit, .n = strlen(hostile[i].unit)};
        x = growth(t, hostile[i].name, &unit);
        worst = x > worst ? x : worst;
    }
    unit = noise(4096 * KIB);
    x = growth(t, "random bytes", &unit);
    worst = x > worst ? x : worst;
    buf_free(&unit);
    for (int i = 0; i < n_paths; i++) {
        unit.p = read_file(paths[i], &unit.n);
        if (!unit.p || !unit.n)
            return 1;
        x = growth(t, strrchr(paths[i], '/') ? strrchr(paths[i], '/') + 1 : paths[i], &unit);
        worst = x > worst ? x : worst;
        free(unit.p);
    }
    printf("%s: 4 MiB cost at most %.2fx of 64 KiB a byte\n", json, worst);
    tok_close(t);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "linear") == 0)
        return linear(argv[2], argv + 3, argc - 3);
    return speed(argc > 1 ? argv[1] : NULL, argc > 2 ? argv[2] : NULL,
                 argc > 3 ? strtoul(argv[3], NULL, 10) : 8192);
}
