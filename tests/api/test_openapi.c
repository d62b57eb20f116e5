/* SPDX-License-Identifier: Apache-2.0 */
/* test_openapi.c - /openapi.json and /docs say what the tables say; a path that is not there;
 * /props, /tokenizer_info, /apply-template; names of ignored fields. That real answers are as the
 * description says is for tests/wire/test_openapi.py. */
#include "api/field.h"
#include "api/ignored.h"
#include "api/openapi_fields.h"
#include "api/openapi_parts.h"
#include "api/state.h"
#include "json.h"
#include "rig.h"

static struct answer document(struct json_doc *d)
{
    struct answer a = get(&rig, "/openapi.json");
    struct err e = {0};
    assert_int_equal(a.status, 200);
    assert_non_null(strcasestr(a.head, "Content-Type: application/json\r\n"));
    if (json_parse(d, a.body, a.n, &e) != 0)
        fail_msg("%s", e.msg); /* strict: a repeated key too */
    return a;
}

static const struct json *at(const struct json_doc *d, const char *const *keys)
{
    const struct json *v = &d->v[0];
    for (; *keys && v; keys++)
        v = json_get(d, v, *keys);
    return v;
}
#define AT(d, ...) at(d, (const char *const[]){__VA_ARGS__, NULL})

/* Every row of the field table, with a schema of its own. */
static void test_fields(void **state)
{
    struct json_doc d;
    struct answer a = document(&d);
    const struct field *f;
    (void)state;
    for (int k = 0; k < n_openapi_requests; k++) {
        const struct dialect *l = openapi_requests[k].dialect;
        for (int i = 0; i < field_rows(l); i++) {
            if (!(f = field_row(l, i)))
                continue;
            if (!openapi_knows(f))
                fail_msg("openapi_fields.c does not know what %s takes (%s)", f->reader, f->name);
            assert_non_null(
                AT(&d, "components", "schemas", openapi_requests[k].name, "properties", f->name));
        }
    }
    const struct json *t = AT(&d, "components", "schemas", "ChatCompletionRequest", "properties",
                              "temperature");
    assert_true(json_get(&d, t, "minimum")->i == 0 && json_get(&d, t, "maximum")->i == 2);
    t = AT(&d, "components", "schemas", "CompletionRequest", "properties", "seed");
    assert_true(json_get(&d, t, "minimum")->i == INT64_MIN &&
                json_get(&d, t, "maximum")->i == INT64_MAX);
    t = AT(&d, "components", "schemas", "TokenId", "maximum");
    assert_int_equal(t->i, RIG_VOCAB - 1);
    json_free(&d);
    free(a.body);
}

/* Every route is there under its methods, and its handler has an entry of its own. */
static void test_routes(void **state)
{
    struct json_doc d;
    struct answer a = document(&d);
    (void)state;
    for (int i = 0; i < rig.a->n_handlers; i++) {
        const struct handler *h = &rig.a->table[i];
        bool tail = h->path[strlen(h->path) - 1] == '/', known = false;
        char path[100];
        snprintf(path, sizeof path, "%s%s", h->path, tail ? "{id}" : "");
        const struct json *got = AT(&d, "paths", path, "get"),
                          *posted = AT(&d, "paths", path, "post");
        assert_true(!got == !(h->methods & M_GET) && !posted == !(h->methods & M_POST));
        assert_non_null(AT(&d, "paths", path, got ? "get" : "post", "responses", "200"));
        for (int k = 0; k < n_openapi_ops; k++)
            known |= strcmp(openapi_ops[k].name, h->name) == 0;
        if (!known)
            fail_msg("openapi_parts.c has no entry for %s", h->name);
    }
    json_free(&d);
    free(a.body);
}

static void test_references(void **state)
{
    struct json_doc d;
    struct answer a = document(&d);
    int n = 0;
    (void)state;
    for (uint32_t i = 0; i < d.n; i++) {
        const struct json *v = &d.v[i];
        if (v->n_key != 4 || memcmp(v->key, "$ref", 4) != 0)
            continue;
        char kind[40], name[60];
        char ref[100];
        snprintf(ref, sizeof ref, "%.*s", (int)v->n, v->s);
        assert_int_equal(sscanf(ref, "#/components/%39[a-z]/%59s", kind, name), 2);
        if (!AT(&d, "components", kind, name))
            fail_msg("%s leads nowhere", ref);
        n++;
    }
    assert_true(n > 100);
    json_free(&d);
    free(a.body);
}

static void test_docs(void **state)
{
    struct answer a = get(&rig, "/docs");
    const struct field *f;
    (void)state;
    assert_int_equal(a.status, 200);
    assert_non_null(strcasestr(a.head, "Content-Type: text/html; charset=utf-8\r\n"));
    assert_non_null(strcasestr(a.head, "Content-Security-Policy: default-src 'none'; "));
    assert_non_null(strcasestr(a.head, "X-Content-Type-Options: nosniff\r\n"));
    assert_true(!strstr(a.body, "<script") && !strstr(a.body, "//") && !strstr(a.body, "src="));
    for (int i = 0; i < field_rows(&dialect_messages); i++) {
        char want[100];
        if (!(f = field_row(&dialect_messages, i)))
            continue;
        snprintf(want, sizeof want, "<code>%s</code>", f->name);
        if (!strstr(a.body, want))
            fail_msg("/docs lacks %s", f->name);
    }
    free(a.body);
}

/* A served name is the operator's text, not ours. */
static void test_docs_escape(void **state)
{
    (void)state;
    rig_defaults(&rig);
    rig_set(&rig, "model.served_names", "<script>alert(1)</script>&\"x");
    rig_start(&rig);
    struct json_doc d;
    struct answer doc = document(&d), a = get(&rig, "/docs");
    assert_int_equal(a.status, 200);
    assert_true(!strstr(a.body, "<script") && strstr(a.body, "&lt;script&gt;alert(1)&lt;"));
    json_free(&d);
    free(doc.body);
    free(a.body);
    rig_stop(&rig);
}

/* Before the model is loaded the description is there, without what only the model knows. */
static void test_before_the_model(void **state)
{
    (void)state;
    rig_defaults(&rig);
    rig_listen(&rig);
    struct json_doc d;
    struct answer a = document(&d), page = get(&rig, "/docs");
    assert_null(AT(&d, "components", "schemas", "TokenId", "maximum"));
    assert_int_equal(page.status, 200);
    json_free(&d);
    free(a.body);
    free(page.body);
    rig_load(&rig);
    assert_true(status_becomes(&rig, "/ready", 200));
    a = document(&d);
    assert_non_null(AT(&d, "components", "schemas", "TokenId", "maximum"));
    json_free(&d);
    free(a.body);
    rig_stop(&rig);
}

static void expect(const char *path, int status, const char *text)
{
    struct answer a = get(&rig, path);
    if (a.status != status || !has(&a, text))
        fail_msg("%s: %d %s", path, a.status, a.body);
    free(a.body);
}

static void test_no_such_path(void **state)
{
    (void)state;
    expect("/v1/chat/completion", 404,
           "There is no path '/v1/chat/completion' here. Did you mean /v1/chat/completions?");
    expect("/nothing/like/it?key=secret", 404,
           "There is no path '/nothing/like/it' here. GET /docs lists those that are.");
    expect("/%3Cb%3E", 404, "There is no path '/%3Cb%3E' here.");
}

static void test_props(void **state)
{
    (void)state;
    expect("/props", 200, "\"total_slots\":");
    expect("/props", 200, "\"build_info\":\"quire-");
    expect("/tokenizer_info", 404, "tokenizer.info_endpoint: true");
}

static void test_apply_template(void **state)
{
    static const struct {
        const char *body;
        int status;
        const char *text;
    } t[] = {{"{\"messages\":[{\"role\":\"user\",\"content\":\"a\\\"b\"}]}", 200, "{\"prompt\":\""},
             {"{}", 400, "'messages' is required."},
             {"[]", 400, "The body must be a JSON object."},
             {"{\"messages\":5}", 400, "'messages' must be an array"},
             {"{\"messages\":[]}", 400, "\"param\":\"messages\",\"code\":\"invalid_length\""},
             {"{\"messages\":[{\"role\":\"user\",\"content\":5}]}", 400, "messages[0].content"},
             {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":5}", 400,
              "'tools' must be an array"},
             {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"add_generation_prompt\":1}",
              400, "'add_generation_prompt' must be a boolean"},
             {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"model\":\"nope\"}", 404,
              "model_not_found"}};
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        struct answer a = post(&rig, "/apply-template", t[i].body);
        if (a.status != t[i].status || !has(&a, t[i].text))
            fail_msg("%s\n%d %s", t[i].body, a.status, a.body);
        free(a.body);
    }
    /* what it shows is what a chat request reads: as many tokens, for here a byte is one */
    struct answer a = post(&rig, "/apply-template", t[0].body),
                  n = post(&rig, "/tokenize", t[0].body);
    struct json_doc d, k;
    assert_int_equal(json_parse(&d, a.body, a.n, NULL), 0);
    assert_int_equal(json_parse(&k, n.body, n.n, NULL), 0);
    assert_int_equal(json_get(&d, &d.v[0], "prompt")->n, json_get(&k, &k.v[0], "count")->i);
    json_free(&d);
    json_free(&k);
    free(a.body);
    free(n.body);
}

static void test_ignored(void **state)
{
    char body[200];
    (void)state;
    for (int i = 0; i < IGNORED_NAMES + 10; i++) {
        snprintf(body, sizeof body,
                 "{\"prompt\":\"x\",\"max_tokens\":1,\"same\":1,\"f%d\":1,\"a b\\\"\":1,"
                 "\"other\":1}",
                 i);
        struct answer a = post(&rig, "/v1/completions", body);
        assert_int_equal(a.status, 200);
        free(a.body);
    }
    double all = IGNORED_NAMES + 10;
    assert_true(metric(&rig, "quire_ignored_fields_total{field=\"same\"}") == all);
    assert_true(metric(&rig, "quire_ignored_fields_total{field=\"f0\"}") == 1);
    /* a b", other, and the names that found no place */
    assert_true(metric(&rig, "quire_ignored_fields_total{field=\"other\"}") == 2 * all + 11);
    struct answer a = get(&rig, "/metrics");
    int n = 0;
    for (const char *p = a.body; (p = strstr(p, "quire_ignored_fields_total{")) != NULL; p++)
        n++;
    assert_int_equal(n, IGNORED_NAMES + 1);
    free(a.body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fields, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(test_routes, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(test_references, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(test_docs, rig_up, rig_down),
        cmocka_unit_test(test_docs_escape),
        cmocka_unit_test(test_before_the_model),
        cmocka_unit_test_setup_teardown(test_no_such_path, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(test_props, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(test_apply_template, rig_up, rig_down),
        cmocka_unit_test_setup_teardown(test_ignored, rig_up, rig_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
