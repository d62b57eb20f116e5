/* SPDX-License-Identifier: Apache-2.0 */
/* check.h - CHECK for bugs (never for input), and the thread contract.
 *
 * A failed CHECK prints file, line and text, runs the flight-recorder hook and aborts. Nothing
 * derived from a request may reach a CHECK.
 */
#ifndef QUIRE_CHECK_H
#define QUIRE_CHECK_H

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (__builtin_expect(!(cond), 0))                                                          \
            check_fail(__FILE__, __LINE__, #cond);                                                 \
    } while (0)

_Noreturn void check_fail(const char *file, int line, const char *what);

/* Called once before abort; must be async-signal tolerant. NULL switches it off. */
void check_set_hook(void (*hook)(void));

/* Threads name themselves once; public entry points of a module say which one they belong to.
 * check_thread aborts in debug builds when called from another thread than the one that claimed the
 * role; a role nobody claimed (unit tests) passes. */
enum thread_role { THREAD_ANY, THREAD_LOOP, THREAD_ENGINE, N_THREAD_ROLES };
void thread_claim(enum thread_role role);
void thread_unclaim(enum thread_role role);
#ifdef NDEBUG
#define check_thread(role) ((void)0)
#else
void check_thread(enum thread_role role);
#endif

#endif
