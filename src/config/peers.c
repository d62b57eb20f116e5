/* SPDX-License-Identifier: Apache-2.0 */
/* peers.c - see peers.h. The options are those of vLLM, SGLang and llama.cpp that people copy into
 * the first command line they try.
 */
#include "peers.h"

#include <stddef.h>
#include <string.h>

#define SET(what) "here it is --set " what
#define MODEL SET("model.path=PATH (a folder or a .gguf file)")
#define LENGTH SET("model.max_model_len=N")
#define SEQS SET("scheduler.max_seqs=N")
#define STEP SET("scheduler.max_step_tokens=N")
#define MEMORY SET("cuda.gpu_memory_utilization=0.9")
#define LAYERS "the whole model is on one device: --set device=cuda or device=cpu"
#define PARALLEL "one process serves one GPU; there is no parallelism over several yet"
#define OFFLOAD "weights and pages stay on the device; there is no offload yet"
#define FOLDER "it comes with the model's folder or file"
#define FORMAT "weights are used as the file has them; a quantised model is a .gguf file"
#define TLS "there is no TLS; put a proxy in front"
#define NOTHING "it is not needed: leave it out"

static const struct {
    const char *theirs, *ours;
} answers[] = {
    {"--model", MODEL},
    {"-m", MODEL},
    {"--model-path", MODEL},
    {"serve", MODEL},
    {"--hf-repo", "nothing is downloaded: --set model.path=PATH names what is here"},
    {"-hf", "nothing is downloaded: --set model.path=PATH names what is here"},
    {"--host", SET("http.listen=ADDRESS:PORT")},
    {"--port", SET("http.listen=ADDRESS:PORT")},
    {"--api-key", SET("auth.api_keys_file=FILE or --set auth.api_key_env=NAME")},
    {"--api-key-file", SET("auth.api_keys_file=FILE")},
    {"--served-model-name", SET("model.served_names=NAME")},
    {"--alias", SET("model.served_names=NAME")},
    {"-a", SET("model.served_names=NAME")},
    {"--max-model-len", LENGTH},
    {"--context-length", LENGTH},
    {"--ctx-size", LENGTH},
    {"-c", LENGTH},
    {"--dtype", SET("model.dtype=NAME")},
    {"--load-format", SET("model.load_format=NAME")},
    {"--device", SET("device=NAME")},
    {"--threads", SET("cpu.threads=N")},
    {"-t", SET("cpu.threads=N")},
    {"--gpu-memory-utilization", MEMORY},
    {"--mem-fraction-static", MEMORY},
    {"--kv-cache-dtype", SET("kv.dtype=NAME")},
    {"--cache-type-k", SET("kv.dtype=NAME")},
    {"--cache-type-v", SET("kv.dtype=NAME")},
    {"-ctk", SET("kv.dtype=NAME")},
    {"-ctv", SET("kv.dtype=NAME")},
    {"--block-size", SET("kv.page_tokens=N")},
    {"--page-size", SET("kv.page_tokens=N")},
    {"--enable-prefix-caching", "prefixes are cached unless kv.prefix_cache.enabled is false"},
    {"--no-enable-prefix-caching", SET("kv.prefix_cache.enabled=false")},
    {"--disable-radix-cache", SET("kv.prefix_cache.enabled=false")},
    {"--max-num-seqs", SEQS},
    {"--max-running-requests", SEQS},
    {"--parallel", SEQS},
    {"-np", SEQS},
    {"--max-num-batched-tokens", STEP},
    {"--chunked-prefill-size", STEP},
    {"--batch-size", STEP},
    {"-b", STEP},
    {"--ubatch-size", STEP},
    {"-ub", STEP},
    {"--max-logprobs", SET("limits.max_logprobs=N")},
    {"--n-predict", SET("limits.max_completion_tokens=N")},
    {"-n", SET("limits.max_completion_tokens=N")},
    {"--allowed-origins", SET("http.cors.allow_origins=ORIGIN")},
    {"--enforce-eager", SET("cuda.graphs=off")},
    {"--disable-cuda-graph", SET("cuda.graphs=off")},
    {"--generation-config", SET("sampling.defaults_from_model=false")},
    {"--log-level", SET("log.level=NAME")},
    {"--verbose", SET("log.level=debug")},
    {"-v", SET("log.level=debug")},
    {"--disable-log-requests", SET("log.level=warn")},
    {"--log-disable", SET("log.level=error")},
    {"--timeout", SET("limits.request_timeout=TIME")},
    {"--metrics", "/metrics is always there"},
    {"--seed", "a seed belongs to a request: its field seed"},
    {"--n-gpu-layers", LAYERS},
    {"--gpu-layers", LAYERS},
    {"-ngl", LAYERS},
    {"--tensor-parallel-size", PARALLEL},
    {"-tp", PARALLEL},
    {"--tp", PARALLEL},
    {"--tp-size", PARALLEL},
    {"--pipeline-parallel-size", PARALLEL},
    {"-pp", PARALLEL},
    {"--data-parallel-size", PARALLEL},
    {"--dp-size", PARALLEL},
    {"--tensor-split", PARALLEL},
    {"--split-mode", PARALLEL},
    {"--swap-space", OFFLOAD},
    {"--cpu-offload-gb", OFFLOAD},
    {"--tokenizer", FOLDER},
    {"--tokenizer-path", FOLDER},
    {"--chat-template", FOLDER},
    {"--chat-template-file", FOLDER},
    {"--jinja", NOTHING},
    {"--trust-remote-code", "code that comes with a model is never run: leave it out"},
    {"--quantization", FORMAT},
    {"-q", FORMAT},
    {"--mlock", NOTHING},
    {"--no-mmap", NOTHING},
    {"--flash-attn", NOTHING},
    {"-fa", NOTHING},
    {"--cont-batching", NOTHING},
    {"-cb", NOTHING},
    {"--enable-chunked-prefill", NOTHING},
    {"--attention-backend", NOTHING},
    {"--ssl-keyfile", TLS},
    {"--ssl-certfile", TLS},
    {"--ssl-key-file", TLS},
    {"--ssl-cert-file", TLS},
};

const char *peer_answer(const char *arg)
{
    size_t n = strcspn(arg, "=");
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        if (strlen(answers[i].theirs) == n && memcmp(answers[i].theirs, arg, n) == 0)
            return answers[i].ours;
    if (arg[0] != '-' && arg[0])
        return MODEL; /* a word: most likely a model */
    return NULL;
}
