/* SPDX-License-Identifier: Apache-2.0 */
/* graph.h - recorded decode steps: be_graph_begin and be_graph_end. */
#ifndef QUIRE_CUDA_GRAPH_H
#define QUIRE_CUDA_GRAPH_H

#include "cuda_be.h"

int cuda_graphs_open(struct cuda_be *c);
void cuda_graphs_close(struct cuda_be *c);
int cuda_graph_begin(struct be *be, uint64_t key);
int cuda_graph_end(struct be *be, uint64_t key);
void cuda_graph_only_record(struct be *be, bool on);

#endif
