/* SPDX-License-Identifier: Apache-2.0 */
/* plant.h - switchable planted bugs: the self-test of the oracles (tests/engine/plant_bugs.c).
 *
 * A second copy of the kv and engine libraries is compiled with QUIRE_PLANT; everywhere else
 * PLANT(n) is the constant 0 and costs nothing.
 */
#ifndef QUIRE_PLANT_H
#define QUIRE_PLANT_H

enum plant {
    PLANT_NONE,
    PLANT_PART_LONG,     /* a partial hit claims one token more than it has */
    PLANT_EARLY_FREE,    /* pages are given back while a step that names them is in flight */
    PLANT_NO_REF,        /* a hit does not raise the reference count */
    PLANT_EVICT_PINNED,  /* eviction ignores pins */
    PLANT_HIT_LONG,      /* a hit may cover the last token too */
    PLANT_CHUNK_SHIFT,   /* later chunks start one position late */
    PLANT_EDIT_MISSED,   /* the page table is not sent again after a preemption */
    PLANT_STALE_TOKEN,   /* the row's token is fed back one step late */
    PLANT_NO_NAMESPACE,  /* the prefix cache is shared between namespaces */
    PLANT_CANCEL_LEAK,   /* a cancel loses one page */
    PLANT_LATE_TOKEN,    /* a finished row's speculative token is emitted */
    PLANT_COPY_UNPINNED, /* the source of a partial copy is released before the copy ran */
    PLANT_COUNTS_MISSED, /* a row's counts are not sent again after a preemption */
    PLANT_SCORE_CACHED,  /* a prompt whose scores are wanted is taken from the cache */
    PLANT_SCORE_AGAIN,   /* scores are reported again after a preemption */
    PLANT_SCORE_NEXT,    /* the score behind a chunk is of another token */
    PLANT_MEAN_HIT,      /* a prompt for a mean skips what the prefix cache has */
    PLANT_SUM_MISSED,    /* a chunk of a mean before the last is not added */
    PLANT_VECTOR_SLOT,   /* a vector is taken from another row of the step */
    /* With two lanes only. */
    PLANT_HANDED_EARLY, /* a row decodes before its last prefill step was committed */
    PLANT_OTHER_LANE,   /* pages are given back while a step of the other lane names them */
    PLANT_LIMBO_LANE,   /* limbo is drained by what the other lane has done */
    N_PLANTS
};

#ifdef QUIRE_PLANT
extern int quire_plant; /* enum plant; defined in kv/kv.c */
#define PLANT(n) (quire_plant == (n))
#else
#define PLANT(n) 0
#endif

#endif
