/* SPDX-License-Identifier: Apache-2.0 */
/* check.c - failed CHECKs and thread roles. Any thread. */
#include "check.h"

#include "log.h"
#include "log_drain.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { LAST_WORDS_MS = 1000 }; /* a stderr that takes nothing must not keep the process */

static void (*_Atomic fail_hook)(void);

void check_set_hook(void (*hook)(void))
{
    atomic_store(&fail_hook, hook);
}

_Noreturn void check_fail(const char *file, int line, const char *what)
{
    char text[512];
    int n = snprintf(text, sizeof text, "%s:%d: CHECK failed: %s\n", file, line, what);
    log_line(text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
    void (*hook)(void) = atomic_exchange(&fail_hook, NULL);
    if (hook)
        hook();
    log_flush(LAST_WORDS_MS);
    abort();
}

/* A role is held by one thread; 0 = nobody claimed it. pthread_t is an integer type on the systems
 * we build for. */
static _Atomic unsigned long owner[N_THREAD_ROLES];

void thread_claim(enum thread_role role)
{
    atomic_store(&owner[role], (unsigned long)pthread_self());
}

void thread_unclaim(enum thread_role role)
{
    atomic_store(&owner[role], 0ul);
}

#ifndef NDEBUG
void check_thread(enum thread_role role)
{
    unsigned long o = atomic_load(&owner[role]);
    if (role != THREAD_ANY && o != 0 && o != (unsigned long)pthread_self())
        check_fail("check_thread", (int)role, "called from a thread that does not own this role");
}
#endif
