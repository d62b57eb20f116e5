/* SPDX-License-Identifier: Apache-2.0 */
/* chunks.c - the byte machine of a chunked body. See chunks.h. Pure. */
#include "chunks.h"

#include "framing.h"

/* What comes next. */
enum {
    SIZE_FIRST, /* a hexadecimal digit */
    SIZE_REST,
    EXT_NAME_FIRST, /* behind ';' */
    EXT_NAME_REST,
    EXT_VALUE_FIRST, /* behind '=' */
    EXT_VALUE_REST,
    EXT_QUOTED,  /* inside quotes */
    EXT_ESCAPED, /* behind a backslash inside them */
    EXT_END,     /* behind the closing quote */
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_FIRST, /* a field or the empty line */
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF,
    COMPLETE,
    WRONG = -1,
};

enum { DIGITS_MAX = 16, OVERHEAD_SPARE = 64 << 10 };

static int hex_of(unsigned char b)
{
    return b >= '0' && b <= '9'   ? b - '0'
           : b >= 'a' && b <= 'f' ? b - 'a' + 10
           : b >= 'A' && b <= 'F' ? b - 'A' + 10
                                  : -1;
}

static bool is_text(unsigned char b)
{
    return b == '\t' || (b >= ' ' && b != 0x7F);
}

/* What may follow a complete name, value or size. */
static int after_word(unsigned char b)
{
    return b == ';' ? EXT_NAME_FIRST : b == '\r' ? SIZE_LF : WRONG;
}

static int after_size(struct chunks *c, unsigned char b)
{
    int v = hex_of(b);
    if (v < 0)
        return c->digits > 0 ? after_word(b) : WRONG;
    if (++c->digits > DIGITS_MAX)
        return WRONG;
    c->left = c->left << 4 | (unsigned)v;
    return SIZE_REST;
}

static int after_extension(int state, unsigned char b)
{
    switch (state) {
    case EXT_NAME_FIRST:
        return framing_token_char(b) ? EXT_NAME_REST : WRONG;
    case EXT_NAME_REST:
        return framing_token_char(b) ? EXT_NAME_REST : b == '=' ? EXT_VALUE_FIRST : after_word(b);
    case EXT_VALUE_FIRST:
        return framing_token_char(b) ? EXT_VALUE_REST : b == '"' ? EXT_QUOTED : WRONG;
    case EXT_VALUE_REST:
        return framing_token_char(b) ? EXT_VALUE_REST : after_word(b);
    case EXT_QUOTED:
        return b == '"' ? EXT_END : b == '\\' ? EXT_ESCAPED : is_text(b) ? EXT_QUOTED : WRONG;
    case EXT_ESCAPED:
        return is_text(b) ? EXT_QUOTED : WRONG;
    default: /* EXT_END */
        return after_word(b);
    }
}

static int after_trailer(int state, unsigned char b)
{
    switch (state) {
    case TRAILER_FIRST:
        return b == '\r' ? LAST_LF : framing_token_char(b) ? TRAILER_NAME : WRONG;
    case TRAILER_NAME:
        return framing_token_char(b) ? TRAILER_NAME : b == ':' ? TRAILER_VALUE : WRONG;
    case TRAILER_VALUE:
        return b == '\r' ? TRAILER_LF : is_text(b) ? TRAILER_VALUE : WRONG;
    case TRAILER_LF:
        return b == '\n' ? TRAILER_FIRST : WRONG;
    default: /* LAST_LF */
        return b == '\n' ? COMPLETE : WRONG;
    }
}

/* The state behind the byte b, which is no data of a chunk. */
static int step(struct chunks *c, unsigned char b)
{
    if (c->state <= SIZE_REST)
        return after_size(c, b);
    if (c->state < SIZE_LF)
        return after_extension(c->state, b);
    switch (c->state) {
    case SIZE_LF:
        return b != '\n' ? WRONG : c->left > 0 ? DATA : TRAILER_FIRST;
    case DATA_CR:
        return b == '\r' ? DATA_LF : WRONG;
    case DATA_LF:
        return b == '\n' ? SIZE_FIRST : WRONG;
    default:
        return after_trailer(c->state, b);
    }
}

static int too_large(struct err *e, uint64_t max_body)
{
    return err_set(e, ST_BODY_TOO_LARGE, "The body is larger than %llu bytes.",
                   (unsigned long long)max_body);
}

/* One byte that is no data: the new state is entered, or a status given. */
static int read_one(struct chunks *c, unsigned char b, uint64_t max_body, struct err *e)
{
    int next = step(c, b);
    if (next == WRONG || ++c->line > CHUNK_LINE_MAX)
        return err_set(e, ST_BAD_REQUEST, "The chunked body is malformed.");
    if (++c->overhead > max_body + OVERHEAD_SPARE)
        return too_large(e, max_body);
    if (next == DATA && (c->left > max_body || c->payload + c->left > max_body))
        return too_large(e, max_body);
    if (next == DATA)
        c->payload += c->left;
    if (next == SIZE_FIRST)
        c->left = 0, c->digits = 0;
    /* all trailers together are bounded like one line */
    if (next == SIZE_FIRST || next == DATA)
        c->line = 0;
    c->state = next;
    return 0;
}

void chunks_begin(struct chunks *c)
{
    *c = (struct chunks){.state = SIZE_FIRST};
}

int chunks_read(struct chunks *c, const char *s, size_t n, uint64_t max_body, size_t *used,
                struct err *e)
{
    size_t i = 0;
    int st = 0;
    while (i < n && c->state != COMPLETE && st == 0) {
        if (c->state == DATA) {
            uint64_t k = c->left < n - i ? c->left : n - i;
            c->left -= k;
            i += (size_t)k;
            if (c->left == 0)
                c->state = DATA_CR;
            continue;
        }
        st = read_one(c, (unsigned char)s[i], max_body, e);
        i += st == 0;
    }
    *used = i;
    return st ? st : c->state == COMPLETE ? 0 : CHUNKS_MORE;
}
