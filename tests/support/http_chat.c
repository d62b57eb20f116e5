/* http_chat.c - a stand-in for the chat templates: renders nothing of a template, only the
 * variables as they came, one line per message. Linked only where src/text has no chat templates;
 * the HTTP tests look at what the front end passes on.
 */
#include "text.h"

#include <cJSON.h>
#include <string.h>

bool chat_wants_parts(const struct chat *c)
{
    (void)c;
    return false;
}

bool chat_knows_developer(const struct chat *c)
{
    (void)c;
    return false;
}

int chat_render(const struct chat *c, const char *json, size_t n, int64_t now_unix_s,
                size_t max_out, struct buf *out, struct spans *spans, struct err *e)
{
    (void)c;
    (void)now_unix_s;
    (void)max_out;
    (void)spans;
    cJSON *v = cJSON_ParseWithLength(json, n);
    if (!v)
        return err_set(e, ST_TEMPLATE, "the variables are not JSON");
    const cJSON *m;
    cJSON_ArrayForEach(m, cJSON_GetObjectItemCaseSensitive(v, "messages"))
    {
        const char *role = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(m, "role"));
        const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(m, "content"));
        buf_add(out, role, strlen(role));
        buf_add(out, ": ", 2);
        buf_add(out, text, strlen(text));
        buf_add(out, "\n", 1);
    }
    cJSON_Delete(v);
    return 0;
}

int chat_encode(const struct chat *c, const struct tok *t, const struct buf *text,
                const struct spans *spans, bool parse_special, struct ids *out, struct err *e)
{
    (void)c;
    (void)spans;
    (void)parse_special;
    return tok_encode(t, text->p ? text->p : "", text->n, TOK_PARSE_SPECIAL, out, e);
}

int chat_open(struct chat **out, const struct text_source *src, struct err *e)
{
    (void)src;
    (void)e;
    *out = (struct chat *)(void *)"";
    return 0;
}

void chat_close(struct chat *c)
{
    (void)c;
}
