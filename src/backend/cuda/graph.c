/* SPDX-License-Identifier: Apache-2.0 */
/* graph.c - decode steps recorded once per key and replayed.
 *
 * The first pass of a key runs eagerly: it loads kernels and lets the matrix products choose their
 * algorithms, neither of which belongs into a recording. The second is recorded, launched and kept;
 * from then on the recording is launched. A key that could not be recorded runs eagerly for ever:
 * the failed pass answers ST_DEVICE_RETRY (nothing of it ran), and the next one is eager. At start
 * many are recorded at once, without running any. Engine thread, or the loader's before. At most
 * MAX_GRAPHS are kept; the one not used for the longest time makes room (the driver keeps a running
 * one alive until it is done).
 */
#include "graph.h"

#include "log.h"
#include "mem.h"

#include <stdlib.h>

enum { MAX_GRAPHS = 512 };

struct entry {
    uint64_t key, last_use;
    int share;            /* of the card, see share.c: a recording runs where it was made */
    cudaGraphExec_t exec; /* NULL: seen once, not recorded yet */
    int eager;            /* recording failed */
};

struct cuda_graphs {
    struct entry e[MAX_GRAPHS];
    int n;
    bool only_record;
    uint64_t clock;
};

int cuda_graphs_open(struct cuda_be *c)
{
    c->graphs = xalloc(sizeof *c->graphs);
    return 0;
}

void cuda_graphs_close(struct cuda_be *c)
{
    struct cuda_graphs *g = c->graphs;
    for (int i = 0; g && i < g->n; i++)
        if (g->e[i].exec)
            c->rt->exec_free(g->e[i].exec);
    free(g);
    c->graphs = NULL;
}

static struct entry *find(const struct cuda_be *c, uint64_t key)
{
    struct cuda_graphs *g = c->graphs;
    for (int i = 0; i < g->n; i++)
        if (g->e[i].key == key && g->e[i].share == c->share)
            return &g->e[i];
    return NULL;
}

static struct entry *add(struct cuda_be *c, uint64_t key)
{
    struct cuda_graphs *g = c->graphs;
    int at = g->n;
    if (g->n < MAX_GRAPHS) {
        g->n++;
    } else {
        at = 0;
        for (int i = 1; i < g->n; i++)
            if (g->e[i].last_use < g->e[at].last_use)
                at = i;
        if (g->e[at].exec)
            c->rt->exec_free(g->e[at].exec);
    }
    g->e[at] = (struct entry){.key = key, .share = c->share};
    return &g->e[at];
}

static int give_up(struct entry *x, int st)
{
    if (st == ST_DEVICE)
        return st;
    log_warn("backend.cuda_graph", "a decode step could not be recorded and runs eagerly: %s",
             st_text(st));
    x->eager = 1;
    return ST_DEVICE_RETRY;
}

int cuda_graph_begin(struct be *be, uint64_t key)
{
    struct cuda_be *c = cuda_of(be);
    struct cuda_graphs *g = c->graphs;
    if (c->sticky != 0)
        return ST_DEVICE;
    struct entry *x = find(c, key);
    bool first = !x;
    if (first)
        x = add(c, key);
    x->last_use = ++g->clock;
    if (x->eager || (first && !g->only_record))
        return 0;
    if (x->exec) {
        if (g->only_record)
            return 1;
        int st = cuda_result(c, c->rt->graph_launch(x->exec, c->stream), "graph launch");
        return st != 0 ? st : 1;
    }
    int st = cuda_result(c, c->rt->capture_begin(c->stream, cudaStreamCaptureModeThreadLocal),
                         "capture begin");
    c->capturing = st == 0;
    return st != 0 ? give_up(x, st) : 0;
}

int cuda_graph_end(struct be *be, uint64_t key)
{
    struct cuda_be *c = cuda_of(be);
    if (!c->capturing)
        return c->sticky != 0 ? ST_DEVICE : 0;
    c->capturing = 0;
    cudaGraph_t graph = NULL;
    struct entry *x = find(c, key);
    int st = cuda_result(c, c->rt->capture_end(c->stream, &graph), "capture end");
    if (st == 0)
        st = cuda_result(c, c->rt->graph_instantiate(&x->exec, graph, 0), "graph instantiate");
    if (graph)
        c->rt->graph_free(graph);
    if (st != 0)
        return give_up(x, st);
    return c->graphs->only_record
               ? 0
               : cuda_result(c, c->rt->graph_launch(x->exec, c->stream), "graph launch");
}

void cuda_graph_only_record(struct be *be, bool on)
{
    cuda_of(be)->graphs->only_record = on;
}
