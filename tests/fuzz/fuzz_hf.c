/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_hf.c - a model folder: config.json up to the first zero byte, then a safetensors image. The
 * first part is also tried as generation_config.json and tokenizer_config.json. */
#include "checkpoint/hf_config.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/source.h"
#include "log.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static uint32_t touch(const struct tensor_table *t)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < t->n; i++)
        for (size_t k = 0; k < t->v[i].bytes; k++)
            sum += t->v[i].data[k];
    return sum;
}

static void check(int rc, const struct err *e)
{
    if (rc != 0 && !e->msg[0])
        abort(); /* a refusal without a reason */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const uint8_t *zero = n ? memchr(data, 0, n) : NULL;
    size_t n_config = zero ? (size_t)(zero - data) : n, rest = zero ? n - n_config - 1 : 0;
    struct err e = {0};
    log_set(LOG_ERROR, LOG_TEXT); /* no line for every odd default */
    /* Copies of exactly their size, so that a byte past the end is seen. */
    uint8_t *config = malloc(n_config ? n_config : 1), *image = malloc(rest ? rest : 1);
    if (!config || !image)
        abort();
    memcpy(config, data, n_config);
    if (rest)
        memcpy(image, zero + 1, rest);
    struct model_source *s = source_new();
    int rc = hf_config_read(s, config, n_config, &e);
    check(rc, &e);
    if (rc == 0) {
        hf_generation_read(s, config, n_config, &e);
        e = (struct err){0};
        rc = safetensors_parse(&s->tensors, "x.safetensors", image, rest, &e);
    }
    if (rc == 0)
        rc = tensor_table_finish(&s->tensors, &e);
    volatile uint32_t sum = rc == 0 ? touch(&s->tensors) : 0;
    (void)sum;
    if (rc == 0)
        rc = source_finish(s, &e);
    check(rc, &e);
    model_source_close(s);
    free(config);
    free(image);
    return 0;
}
