/* fields.c - the table of settings: the only place that knows a key, its default and its meaning.
 *
 * Pure data and look-up. After a change run `quired --print-config=defaults > configs/quired.yaml`;
 * a test compares the two.
 */
#include "fields.h"

#include "log.h"

#include <string.h>

#define AT(member) offsetof(struct config, member)
#define KIB 1024.0
#define MIB (1024.0 * KIB)
#define GIB (1024.0 * MIB)
#define MS 1e3
#define S 1e6
#define HOUR (3600 * S)

/* clang-format off */
const struct field fields[] = {
    {"model.path", F_STRING, AT(model.path), "", 0, 4000, NULL,
     "A Hugging Face folder (config.json, safetensors, tokenizer.json) or one .gguf file."},
    {"model.served_names", F_LIST, AT(model.served_names), "", 0, 16, NULL,
     "Names that requests may use; the first is the default. Empty: the folder's or file's name."},
    {"model.load_format", F_ENUM, AT(model.load_format), "auto", 0, 0, "auto|dummy",
     "auto: the stored weights. dummy: config.json only, random weights (for benchmarks)."},
    {"model.dtype", F_ENUM, AT(model.dtype), "auto", 0, 0, "auto|bf16|f16",
     "Type of weights and activations. auto: on a GPU as stored (f16 for quantised files), f32 on the CPU."},
    {"model.max_model_len", F_INT, AT(model.max_model_len), "auto", 1, 16777216, "auto",
     "Most tokens of one request, prompt and answer. auto: the model's own, bounded by the pool."},
    {"device", F_ENUM, AT(device), "auto", 0, 0, "auto|cuda|cpu",
     "auto: the GPU when there is one and this build can use it, else the CPU."},
    {"cuda.index", F_INT, AT(cuda.index), "0", 0, 63, NULL, "Which GPU."},
    {"cuda.gpu_memory_utilization", F_FRACTION, AT(cuda.gpu_memory_utilization), "0.92", 0.05, 1, NULL,
     "Share of the GPU's memory that quired may take, all in all."},
    {"cuda.graphs", F_ENUM, AT(cuda.graphs), "lazy", 0, 0, "off|lazy|start",
     "CUDA graphs of decode steps: recorded when first needed, at start, or never."},
    {"cpu.threads", F_INT, AT(cpu.threads), "auto", 1, 512, "auto",
     "Worker threads of the CPU backend. auto: all cores."},
    {"kv.page_tokens", F_INT, AT(kv.page_tokens), "16", 16, 64, NULL,
     "Tokens of one KV page: 16, 32 or 64."},
    {"kv.dtype", F_ENUM, AT(kv.dtype), "auto", 0, 0, "auto|f32|bf16|f16",
     "Storage of keys and values. auto: f32 on the CPU, model.dtype on a GPU."},
    {"kv.pool_bytes", F_SIZE, AT(kv.pool_bytes), "auto", 64 * KIB, 4096 * GIB, "auto",
     "Size of the page pool. auto: what is left on the GPU; 1GiB on the CPU."},
    {"kv.prefix_cache.enabled", F_BOOL, AT(kv.prefix_cache), "true", 0, 0, NULL,
     "Keep pages of finished requests and reuse them for equal prompt beginnings."},
    {"kv.prefix_cache.eviction", F_ENUM, AT(kv.eviction), "lru", 0, 0, "lru|lfu|fifo",
     "Which cached pages go first when pages are short."},
    {"scheduler.max_seqs", F_INT, AT(scheduler.max_seqs), "256", 1, 1024, NULL,
     "Sequences that run at the same time."},
    {"scheduler.max_step_tokens", F_INT, AT(scheduler.max_step_tokens), "8192", 16, 16384, NULL,
     "Tokens of one prefill pass; longer prompts are cut into chunks."},
    {"scheduler.steps_in_flight", F_INT, AT(scheduler.steps_in_flight), "2", 1, 2, NULL,
     "Steps enqueued ahead of the device. The CPU backend always runs one."},
    {"scheduler.max_decode_gap", F_DURATION, AT(scheduler.max_decode_gap), "50ms", 1 * MS, 60 * S, NULL,
     "How long running answers may stand still while prompts prefill."},
    {"http.listen", F_STRING, AT(http.listen), "127.0.0.1:8000", 1, 300, NULL,
     "Address and port; [::]:8000 for IPv6, 0.0.0.0:8000 for all of IPv4. Port 0 picks a free one."},
    {"http.max_connections", F_INT, AT(http.max_connections), "4096", 1, 60000, NULL,
     "Open connections; more are answered 503 and closed."},
    {"http.max_body_bytes", F_SIZE, AT(http.max_body_bytes), "32MiB", 1 * KIB, 1 * GIB, NULL,
     "Largest request body; larger ones are answered 413."},
    {"http.max_header_bytes", F_SIZE, AT(http.max_header_bytes), "32KiB", 1 * KIB, 32 * KIB, NULL,
     "Largest header of a request, all fields together; larger ones are answered 431."},
    {"http.keepalive_timeout", F_DURATION, AT(http.keepalive_timeout), "75s", 1 * S, HOUR, NULL,
     "Idle connections are closed after this."},
    {"http.header_timeout", F_DURATION, AT(http.header_timeout), "10s", 100 * MS, HOUR, NULL,
     "A request's head must have arrived within this, else 408."},
    {"http.body_timeout", F_DURATION, AT(http.body_timeout), "30s", 100 * MS, HOUR, NULL,
     "A body must make progress at least this often, else 408."},
    {"http.write_timeout", F_DURATION, AT(http.write_timeout), "30s", 100 * MS, HOUR, NULL,
     "A client that takes no bytes for this long loses its request."},
    {"http.unknown_fields", F_ENUM, AT(http.unknown_fields), "ignore", 0, 0, "ignore|reject",
     "Fields of a request that nobody knows: ignored and counted, or answered 400."},
    {"http.cors.allow_origins", F_LIST, AT(http.cors_origins), "", 0, 64, NULL,
     "Origins that browsers may call from; \"*\" for all. Empty: CORS is off."},
    {"auth.api_keys_file", F_STRING, AT(auth.api_keys_file), "", 0, 4000, NULL,
     "One API key a line, # comments. Must not be readable by others. Empty: an open server."},
    {"auth.api_key_env", F_STRING, AT(auth.api_key_env), "", 0, 200, NULL,
     "Name of an environment variable that holds one API key."},
    {"models.unknown", F_ENUM, AT(models.unknown), "reject", 0, 0, "reject|accept",
     "A request for a model of another name: 404, or served by the default model."},
    {"limits.max_n", F_INT, AT(limits.max_n), "128", 1, 1024, NULL, "Largest n of a request."},
    {"limits.max_prompts", F_INT, AT(limits.max_prompts), "1024", 1, 65536, NULL,
     "Prompts of one completions request."},
    {"limits.max_sequences_per_request", F_INT, AT(limits.max_sequences), "1024", 1, 65536, NULL,
     "Prompts times n of one request."},
    {"limits.max_stop", F_INT, AT(limits.max_stop), "4", 0, 64, NULL, "Stop strings of one request."},
    {"limits.max_logprobs", F_INT, AT(limits.max_logprobs), "20", 0, 20, NULL,
     "Largest logprobs and top_logprobs."},
    {"limits.max_completion_tokens", F_INT, AT(limits.max_completion_tokens), "auto", 1, 16777216, "auto",
     "Most tokens of an answer that does not ask for a number itself. auto: all remaining room."},
    {"limits.queue_size", F_INT, AT(limits.queue_size), "512", 1, 65536, NULL,
     "Requests that may wait for a place; more are answered 429."},
    {"limits.queue_timeout", F_DURATION, AT(limits.queue_timeout), "60s", 0, 24 * HOUR, NULL,
     "A request that waited this long without a first token is answered 503. 0: no limit."},
    {"limits.request_timeout", F_DURATION, AT(limits.request_timeout), "0", 0, 24 * HOUR, NULL,
     "A request that took this long is ended (504, or an error event). 0: no limit."},
    {"sampling.defaults_from_model", F_BOOL, AT(sampling_from_model), "true", 0, 0, NULL,
     "Take temperature, top_p, top_k and min_p defaults from generation_config.json."},
    {"security.parse_special_tokens", F_BOOL, AT(security.parse_special_tokens), "true", 0, 0, NULL,
     "Special-token text inside prompts and messages means the token. false: it stays plain text."},
    {"stream.force_usage", F_BOOL, AT(force_usage), "false", 0, 0, NULL,
     "Send the usage chunk on every stream, asked for or not."},
    {"stream.buffer_bytes", F_SIZE, AT(stream_buffer_bytes), "256KiB", 4 * KIB, 1 * GIB, NULL,
     "Bytes of a stream that its client has not taken; with more it loses its request."},
    {"drain.delay", F_DURATION, AT(drain.delay), "5s", 0, HOUR, NULL,
     "After SIGTERM: /ready is 503 but requests are served normally for this long."},
    {"drain.timeout", F_DURATION, AT(drain.timeout), "25s", 0, 24 * HOUR, NULL,
     "After the delay: running requests may finish for this long, then get an error event."},
    {"metrics.require_auth", F_BOOL, AT(metrics.require_auth), "false", 0, 0, NULL,
     "/metrics needs an API key too."},
    {"metrics.compat", F_ENUM, AT(metrics.compat), "vllm", 0, 0, "none|vllm",
     "vllm: publish the numbers under vLLM's names as well: routers and dashboards know them."},
    {"log.level", F_ENUM, AT(log.level), "info", 0, 0, "error|warn|info|debug",
     "error: someone must act; warn: degraded; info: lifecycle and one line a request."},
    {"log.format", F_ENUM, AT(log.format), "text", 0, 0, "text|json", "One line an event, on stderr."},
};
/* clang-format on */
const int n_fields = sizeof fields / sizeof *fields;

int field_find(const char *path)
{
    for (int i = 0; i < n_fields; i++)
        if (strcmp(fields[i].path, path) == 0)
            return i;
    return -1;
}

/* Levenshtein distance of short strings; long ones count as far. */
static int distance(const char *a, const char *b)
{
    enum { MAX = 80 };
    size_t n = strlen(a), m = strlen(b);
    if (n >= MAX || m >= MAX)
        return MAX;
    int row[MAX + 1];
    for (size_t j = 0; j <= m; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diag = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int up = row[j], best = diag + (a[i - 1] != b[j - 1]);
            if (up + 1 < best)
                best = up + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
            diag = up;
        }
    }
    return row[m];
}

static const char *leaf(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

const char *field_nearest(const char *path)
{
    int best = (int)strlen(path) / 3 + 2;
    const char *found = NULL;
    for (int i = 0; i < n_fields; i++) {
        int d = distance(path, fields[i].path);
        /* the right word in the wrong section is near, too */
        if (strcmp(leaf(path), leaf(fields[i].path)) == 0 && d > 2)
            d = 2;
        if (d < best) {
            best = d;
            found = fields[i].path;
        }
    }
    return found;
}
