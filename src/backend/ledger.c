/* SPDX-License-Identifier: Apache-2.0 */
/* ledger.c - who took how much memory of a device: one line a kind of user, printed at the seal.
 *
 * Every allocation goes through here, so that an out-of-memory can say what is left beside what.
 * Engine thread, or the loader thread before the seal. Invariant: nothing is allocated after
 * be_seal.
 */
#include "ledger.h"

#include "calls.h"
#include "log.h"
#include "mem.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { MAX_LEDGER = 64, LEDGER_NAME = 48 };

struct be_ledger {
    struct {
        char what[LEDGER_NAME];
        size_t bytes;
        int n;
    } line[MAX_LEDGER];
    int n;
    bool sealed;
};

struct be_ledger *ledger_new(void)
{
    return xalloc(sizeof(struct be_ledger));
}

/* Entries are merged by the part of the name before the first '.', so that the weights of a hundred
 * layers are one line; the last line takes whatever does not fit the table. */
static void ledger_add(struct be_ledger *l, const char *what, size_t bytes)
{
    char name[LEDGER_NAME];
    size_t len = strcspn(what, ".");
    len = len < sizeof name - 1 ? len : sizeof name - 1;
    memcpy(name, what, len);
    name[len] = '\0';
    int i = 0;
    while (i < l->n && strcmp(l->line[i].what, name) != 0)
        i++;
    if (i == l->n && l->n == MAX_LEDGER)
        i = MAX_LEDGER - 1;
    if (i == l->n)
        memcpy(l->line[l->n++].what, name, len + 1);
    l->line[i].bytes += bytes;
    l->line[i].n++;
}

static size_t ledger_print(const struct be_ledger *l)
{
    size_t sum = 0;
    for (int i = 0; i < l->n; i++) {
        log_info("backend.memory", "what=\"%s\" mib=%.1f pieces=%d", l->line[i].what,
                 (double)l->line[i].bytes / 1048576.0, l->line[i].n);
        sum += l->line[i].bytes;
    }
    return sum;
}

static void *take(struct be *be, const char *what, size_t bytes, bool host)
{
    be = be->root ? be->root : be;
    if (be->ledger->sealed) {
        log_error("backend.alloc_refused", "what=%s bytes=%zu after=seal", what, bytes);
        return NULL;
    }
    if (fault_point("be_alloc"))
        return NULL;
    void *p = host ? be->call->alloc_host(be, bytes) : be->call->alloc(be, bytes);
    if (!p) {
        ledger_print(be->ledger); /* what had been taken until then */
        log_error("backend.memory_exhausted",
                  "what=\"%s\" mib=%.1f place=%s left_mib=%.1f device=\"%s\"", what,
                  (double)bytes / 1048576.0, host ? "host" : "device",
                  (double)be->info.memory_free / 1048576.0, be->info.name);
        return NULL;
    }
    ledger_add(be->ledger, what, bytes);
    if (!host)
        be->info.memory_free -= (int64_t)bytes;
    return p;
}

void *be_alloc(struct be *be, const char *what, size_t bytes)
{
    return take(be, what, bytes, false);
}

void *be_alloc_host(struct be *be, const char *what, size_t bytes)
{
    return take(be, what, bytes, true);
}

int be_no_room(struct be *be, const char *what, size_t bytes, const char *would, struct err *e)
{
    const struct be_ledger *l = be->ledger;
    be = be->root ? be->root : be;
    char taken[256] = "nothing";
    size_t at = 0;
    for (int i = 0; i < l->n && at < sizeof taken - 1; i++) {
        int n = snprintf(taken + at, sizeof taken - at, "%s%s %.1f", i ? ", " : "", l->line[i].what,
                         (double)l->line[i].bytes / 1048576.0);
        at += n > 0 ? (size_t)n : 0;
    }
    return err_set(e, ST_NOMEM,
                   "out of memory: %s needs %.1f MiB, %.1f MiB are left on %s beside (MiB) %s%s%s",
                   what, (double)bytes / 1048576.0, (double)be->info.memory_free / 1048576.0,
                   be->info.name, taken, would ? "; " : "", would ? would : "");
}

void be_seal(struct be *be)
{
    struct be_ledger *l = be->ledger;
    size_t sum = ledger_print(l);
    log_info("backend.memory", "what=total mib=%.1f device=\"%s\"", (double)sum / 1048576.0,
             be->info.name);
    l->sealed = true;
    if (be->call->seal)
        be->call->seal(be);
}
