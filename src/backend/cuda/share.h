/* SPDX-License-Identifier: Apache-2.0 */
/* share.h - the processors of a GPU split between a device and its lane: be_set_share. */
#ifndef QUIRE_CUDA_SHARE_H
#define QUIRE_CUDA_SHARE_H

#include "cuda_be.h"

/* The splits of the root of `lane`: queues of both on both parts of each, kept by the lane. Returns
 * how many there are; 0 where the driver or the card cannot split. Loader thread. */
int cuda_shares_open(struct cuda_be *lane);
void cuda_shares_close(struct cuda_be *lane); /* nothing is in flight any more */
int cuda_set_share(struct be *be, int32_t share);

#endif
