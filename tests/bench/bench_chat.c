/* SPDX-License-Identifier: Apache-2.0 */
/* bench_chat.c - time to render a conversation on one thread, by chat template.
 *   bench_chat [conversation.json [template...]]
 * Without arguments: 20 messages of some 200 characters, the SmolLM2, Qwen2.5 and Qwen3 templates
 * of the fixtures. One JSON line a template: the best and the mean of many renderings, JSON parsing
 * included. scripts/bench_chat_jinja2.py runs this and jinja2 on the same input and compares the
 * texts.
 */
#include "../text/golden.h"
#include "chat_text.h"

#include <time.h>

enum { ROUNDS = 2000 };

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static struct buf conversation(void)
{
    static const char words[] =
        "The GPU's memory is paged in blocks of 16 tokens; a request takes what it needs.\\n"
        "\\\"Why?\\\" - because prompts differ in length, and nobody knows how long an answer "
        "will be before it is there.";
    struct buf b = {0};
    char head[64];
    buf_add(&b, "{\"messages\":[", 13);
    for (int i = 0; i < 20; i++) {
        int n = snprintf(head, sizeof(head), "%s{\"role\":\"%s\",\"content\":\"%d. ", i ? "," : "",
                         i == 0  ? "system"
                         : i % 2 ? "user"
                                 : "assistant",
                         i);
        buf_add(&b, head, (size_t)n);
        buf_add(&b, words, sizeof(words) - 1);
        buf_add(&b, "\"}", 2);
    }
    buf_add(&b, "],\"add_generation_prompt\":true}", 31);
    return b;
}

static struct chat *load(const char *name)
{
    struct text_source src = {.bos_id = -1, .eos_id = -1, .unk_id = -1, .pad_id = -1};
    struct chat *c = NULL;
    struct err e = {0};
    char *config = golden_read(false, "templates/%s/tokenizer_config.json", name,
                               &src.tokenizer_config_json.n);
    char *jinja = golden_read(false, "templates/%s/chat_template.jinja", name,
                              &src.chat_template_jinja.n);
    src.tokenizer_config_json.p = config;
    src.chat_template_jinja.p = jinja;
    if (chat_open(&c, &src, &e)) {
        fprintf(stderr, "%s: %s\n", name, e.msg);
        exit(1);
    }
    free(config);
    free(jinja);
    return c;
}

static void bench(const char *name, const struct buf *json)
{
    const struct chat_args args = {.max_out = 1 << 24};
    struct chat *c = load(name);
    struct buf out = {0};
    struct spans spans = {0};
    struct err e;
    double best = 1e9, all = now_s();
    uint64_t sum = 0;
    for (int i = 0; i < ROUNDS; i++) {
        double at = now_s();
        out.n = spans.n = 0;
        if (chat_render_text(c, (struct view){json->p, json->n}, args, &out, &spans, &e)) {
            fprintf(stderr, "%s: %s\n", name, e.msg);
            exit(1);
        }
        at = now_s() - at;
        best = at < best ? at : best;
    }
    all = (now_s() - all) / ROUNDS;
    for (size_t i = 0; i < out.n; i++)
        sum = sum * 31 + (unsigned char)out.p[i];
    printf("{\"template\":\"%s\",\"best_us\":%.2f,\"mean_us\":%.2f,\"json_bytes\":%zu,"
           "\"bytes\":%zu,\"sum\":%llu}\n",
           name, best * 1e6, all * 1e6, json->n, out.n, (unsigned long long)sum);
    buf_free(&out);
    free(spans.p);
    chat_close(c);
}

int main(int argc, char **argv)
{
    static char *names[] = {"smollm2", "qwen2.5", "qwen3"};
    struct buf json = {0};
    if (argc > 1) {
        json.p = read_file(argv[1], &json.n);
        if (!json.p) {
            fprintf(stderr, "%s: cannot read\n", argv[1]);
            return 1;
        }
    } else {
        json = conversation();
    }
    for (int i = 0; i < (argc > 2 ? argc - 2 : 3); i++)
        bench(argc > 2 ? argv[i + 2] : names[i], &json);
    buf_free(&json);
    return 0;
}
