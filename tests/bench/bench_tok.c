/* bench_tok.c - speed of the tokenizer on one thread: load time, encode and decode in MB/s.
 *   bench_tok [tokenizer.json [text [chunk_bytes]]]
 * Without arguments: the SmolLM2 fixture on the texts of its goldens. The text is encoded in chunks
 * that end at a line; best of 5 rounds. scripts/bench_tok_hf.py runs this and Hugging Face's
 * tokenizers on the same files and compares the ids.
 */
#include "../text/golden.h"

#include <time.h>

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
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
    double at = now_s();
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
    return now_s() - at;
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

int main(int argc, char **argv)
{
    double at = now_s(), best = 1e9, best_dec = 1e9;
    struct tok *t = argc > 1 ? load(argv[1]) : golden_tok(false, "smollm2");
    double load_s = now_s() - at;
    size_t chunk = argc > 3 ? strtoul(argv[3], NULL, 10) : 8192;
    struct buf text = {0}, back = {0};
    struct ids ids = {0};
    uint64_t sum = 0;
    if (argc > 2)
        text.p = read_file(argv[2], &text.n);
    else
        text = golden_text();
    if (!t || !text.p)
        return 1;
    for (int i = 0; i < 5; i++) {
        double s = encode_all(t, &text, chunk, &ids);
        best = s < best ? s : best;
        back.n = 0;
        at = now_s();
        tok_decode(t, ids.p, ids.n, false, &back);
        s = now_s() - at;
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
