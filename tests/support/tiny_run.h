/* SPDX-License-Identifier: Apache-2.0 */
/* tiny_run.h - the group set-up of tests that run one tiny model by hand: its folder, and a
 * model_run over random weights on two threads of the CPU. One test program, one folder. */
#ifndef QUIRE_TEST_TINY_RUN_H
#define QUIRE_TEST_TINY_RUN_H

#include "testing.h"

#include "model_run.h"
#include "tiny_model.h"

static char tiny_dir[TINY_DIR_BYTES];

static inline int tiny_begin(const char *name, const struct tiny_model *m)
{
    tiny_model_dir(tiny_dir, name);
    tiny_model_write(tiny_dir, m);
    return 0;
}

/* The group's tear-down. */
static inline int tiny_end(void **state)
{
    (void)state;
    tiny_model_remove(tiny_dir);
    return 0;
}

static inline void tiny_open(struct model_run *x, uint64_t seed, int32_t rows, int32_t max_len,
                             int32_t max_step_tokens)
{
    struct model_source_opts so = {.path = tiny_dir, .dummy = true, .seed = seed};
    struct be_config bc = {.kind = BE_CPU, .threads = 2};
    struct err e = {0};
    if (model_run_open(x, &so, &bc, rows, max_len, max_step_tokens, &e) != 0)
        fail_msg("%s", e.msg);
}

#endif
