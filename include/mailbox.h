/* SPDX-License-Identifier: Apache-2.0 */
/* mailbox.h - the only lock between threads: a bounded queue of flat messages.
 *
 * Any thread may send; one thread drains. A message is `n` bytes without pointers and is copied in;
 * messages start 8-byte aligned. The wake function runs on the sender's thread, after the lock is
 * dropped, on empty -> non-empty only; the receiver drains everything at once.
 */
#ifndef QUIRE_MAILBOX_H
#define QUIRE_MAILBOX_H

#include <stddef.h>
#include <stdint.h>

struct mbox;

/* `max_bytes` bounds what may be queued; `reserve` bytes are allocated at once (twice), so that a
 * queue that stays below never calls malloc. wake may be NULL (then use mbox_wait). */
struct mbox *mbox_new(size_t reserve, size_t max_bytes, void (*wake)(void *), void *arg);
void mbox_free(struct mbox *m);

/* 0, or ST_FULL (nothing was queued). */
int mbox_send(struct mbox *m, const void *msg, size_t n);

/* Receiver: takes all queued messages; walk them with mbox_next until NULL. The bytes stay valid
 * until that NULL or the next mbox_take. Returns the number of messages. */
int mbox_take(struct mbox *m);
const void *mbox_next(struct mbox *m, size_t *n);

/* Receiver: block until non-empty or until timeout_us passed (-1 = for ever). Returns 1 if there is
 * something. */
int mbox_wait(struct mbox *m, int64_t timeout_us);

#endif
