/* SPDX-License-Identifier: Apache-2.0 */
/* check.c - failed CHECKs and thread roles. Any thread. */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static void (*_Atomic fail_hook)(void);

void check_set_hook(void (*hook)(void))
{
    atomic_store(&fail_hook, hook);
}

_Noreturn void check_fail(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: CHECK failed: %s\n", file, line, what);
    void (*hook)(void) = atomic_exchange(&fail_hook, NULL);
    if (hook)
        hook();
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
