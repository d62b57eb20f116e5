/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors.h - one safetensors file: its header read, every tensor placed inside of the file. */
#ifndef QUIRE_CHECKPOINT_SAFETENSORS_H
#define QUIRE_CHECKPOINT_SAFETENSORS_H

#include "tensors.h"

/* Add the tensors of data[0..n) to *t, pointing into data; the caller calls tensor_table_finish
 * after the last file. `file` names it in messages. FORMAT. */
int safetensors_parse(struct tensor_table *t, const char *file, const uint8_t *data, size_t n,
                      struct err *e);

#endif
