/* SPDX-License-Identifier: Apache-2.0 */
/* tensors.h - the table of the tensors in a model's files. Opening thread; read-only
 * afterwards. Private to checkpoint/.
 */
#ifndef QUIRE_CHECKPOINT_TENSORS_H
#define QUIRE_CHECKPOINT_TENSORS_H

#include "mem.h"
#include "status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SRC_MAX_TENSORS = 1 << 18,
    SRC_MAX_DIMS = 4,
    SRC_MAX_NAME = 256, /* bytes of a tensor name */
};

/* One stored tensor: dims outermost first (row-major). data points into a map. */
struct tensor {
    const char *name;
    char type_name[16]; /* as the file calls it, for messages */
    int32_t type;       /* enum qtype */
    int32_t n_dims;
    int64_t dim[SRC_MAX_DIMS];
    const uint8_t *data;
    size_t bytes;
    bool used;
};

struct tensor_table {
    struct tensor *v;
    size_t n, cap;
    struct arena names;
};
void tensor_table_init(struct tensor_table *t);
void tensor_table_free(struct tensor_table *t);
/* Append a copy of *x with its name copied from name[0..n). FORMAT at a cap or a bad name. */
int tensor_table_add(struct tensor_table *t, const struct tensor *x, const char *name, size_t n,
                     struct err *e);
/* Sort by name; FORMAT when two tensors share a name or bytes. Call once, after all were added. */
int tensor_table_finish(struct tensor_table *t, struct err *e);
struct tensor *tensor_find(const struct tensor_table *t, const char *name);
/* "[49152, 576]" for messages. */
void tensor_shape_text(const struct tensor *t, char *buf, size_t n);
/* Start reading its bytes from disk, without waiting. NULL and memory that is no map do nothing. */
void tensor_prefetch(const struct tensor *t);

#endif
