/* SPDX-License-Identifier: Apache-2.0 */
/* status.c - the status table's columns and struct err. Any thread; no state. */
#include "status.h"

#include <stdio.h>
#include <string.h>

struct status_row {
    const char *text;
    int http;
    const char *type, *code;
};

#define X(n, text, http, type, code) {text, http, type, code},
static const struct status_row rows[N_STATUS] = {ST_LIST(X)};
#undef X

static const struct status_row *row_of(int st)
{
    if (st > 0 || st <= -N_STATUS)
        st = ST_INTERNAL;
    return &rows[-st];
}

const char *st_text(int st)
{
    return row_of(st)->text;
}

int st_http(int st)
{
    return row_of(st)->http;
}

const char *st_type(int st)
{
    return row_of(st)->type;
}

const char *st_code(int st)
{
    return row_of(st)->code;
}

/* vsnprintf may cut inside a code point: drop the incomplete tail, so that msg stays valid UTF-8.
 */
static void cut_at_code_point(char *s)
{
    size_t n = strlen(s), back = 0;
    while (back < 3 && back < n && ((unsigned char)s[n - 1 - back] & 0xC0) == 0x80)
        back++;
    if (back >= n)
        return;
    unsigned char lead = (unsigned char)s[n - 1 - back];
    size_t want = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
    if (back < want)
        s[n - 1 - back] = '\0';
}

static int err_vset(struct err *e, int st, const char *fmt, va_list ap)
{
    if (!e)
        return st;
    e->st = st;
    vsnprintf(e->msg, sizeof e->msg, fmt, ap);
    cut_at_code_point(e->msg);
    return st;
}

int err_set(struct err *e, int st, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (e)
        e->param[0] = '\0';
    err_vset(e, st, fmt, ap);
    va_end(ap);
    return st;
}

int err_param(struct err *e, int st, const char *param, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (e) {
        snprintf(e->param, sizeof e->param, "%s", param);
        cut_at_code_point(e->param);
    }
    err_vset(e, st, fmt, ap);
    va_end(ap);
    return st;
}
