/* SPDX-License-Identifier: Apache-2.0 */
/* shapes.c - small shapes of OpenAI's answers. Pure; any thread. */
#include "shapes.h"

#include "json_out.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void out_logprob(struct buf *b, float v)
{
    char t[40];
    if (!(v > -9999.0f)) {
        out_str(b, "-9999.0");
        return;
    }
    if (!isfinite(v))
        v = 0;
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(t, sizeof t, "%.*g", digits, (double)v);
        if (strtof(t, NULL) == v)
            break;
    }
    out_str(b, t);
    if (!strpbrk(t, ".e"))
        out_str(b, ".0");
}

void out_error(struct buf *b, const struct err *e)
{
    out_str(b, "{\"error\":{\"message\":");
    out_json(b, e->msg, strlen(e->msg));
    out_str(b, ",\"type\":");
    out_json(b, st_type(e->st), strlen(st_type(e->st)));
    out_str(b, ",\"param\":");
    if (e->param[0])
        out_json(b, e->param, strlen(e->param));
    else
        out_str(b, "null");
    out_str(b, ",\"code\":");
    out_json(b, st_code(e->st), strlen(st_code(e->st)));
    out_str(b, "}}");
}
