/* SPDX-License-Identifier: Apache-2.0 */
/* tokpre.c - the split rules that GGUF metadata only names ("tokenizer.ggml.pre").
 *
 * Each rule is the pipeline of the tokenizer.json that the name was made for: patterns and class
 * steps one after the other, then byte level. A name that is not here is refused: a guessed rule
 * would give wrong ids that nothing reports. One thread, at load. */
#include "tokgguf.h"

#include <string.h>

#define TAIL "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define WORD "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define HAN "\\x{4e00}-\\x{9fa5}"

static const char pat_gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
static const char pat_llama3[] = CONTRACTIONS "|" WORD "|\\p{N}{1,3}" TAIL;
static const char pat_qwen2[] = CONTRACTIONS "|" WORD "|\\p{N}" TAIL;
static const char pat_qwen35[] = CONTRACTIONS
    "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*"
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char pat_tekken[] =
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER
    "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char pat_o200k[] =
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" CONTRACTIONS "?|[^\\r\\n\\p{L}\\p{N}]?" UPPER
    "+" LOWER "*" CONTRACTIONS
    "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char pat_digits3[] = "\\p{N}{1,3}";
static const char pat_han_kana[] = "[" HAN "\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+";
static const char pat_han_hangul[] = "[" HAN "\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+";
static const char pat_deepseek3[] =
    "[!\"#$%&'()*+,\\-./"
    ":;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
    "| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
static const char pat_line_break[] = "[\\r\\n]";
static const char pat_letters[] = "\\s?\\p{L}+";
static const char pat_marks[] = "\\s?\\p{P}+";
static const char pat_space_at_end[] = "\\s+$";
/* Letters with case, and punctuation, as that model's file lists them. */
static const char pat_cased[] =
    "\\s?[A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}"
    "\\x{1c4}-\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}"
    "\\x{37f}\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}"
    "\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}"
    "\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}"
    "\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}"
    "\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}"
    "\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}"
    "\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}"
    "\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}"
    "\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}"
    "\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}"
    "\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}"
    "\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}"
    "\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}"
    "\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}"
    "\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}"
    "\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}]+";
static const char pat_wide_marks[] =
    "\\s?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]"
    "+";
static const char pat_bloom[] =
    " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+";

/* The one step that is no pattern, told by its address. */
static const char each_digit[] = "digit";

/* WHOLE: a piece that is a token is that token, whatever the merges say. BOS: in front of a text,
 * unless the metadata says otherwise. */
enum { WHOLE = 1, NFC = 2, BOS = 4 };
enum { MAX_RULE_STEPS = 6 };
static const struct pre_rule {
    const char *names; /* separated by spaces */
    unsigned flags;
    const char *step[MAX_RULE_STEPS];
} pre_rules[] = {
    {"gpt-2 phi-2 mpt olmo jais", 0, {pat_gpt2}},
    {"smollm starcoder refact codeshell", 0, {each_digit, pat_gpt2}},
    {"command-r", NFC | BOS, {each_digit, pat_gpt2}},
    {"llama-bpe llama3 llama-v3 falcon3 lfm2 pixtral", WHOLE | BOS, {pat_llama3}},
    {"glm4 chatglm-bpe", WHOLE, {pat_llama3}},
    {"dbrx smaug-bpe", 0, {pat_llama3}},
    {"tekken", WHOLE | BOS, {pat_tekken}},
    {"qwen2 deepseek-r1-qwen stablelm2 megrez", NFC, {pat_qwen2}},
    {"qwen35", NFC, {pat_qwen35}},
    {"gpt-4o", WHOLE, {pat_o200k}},
    {"llama4", WHOLE | BOS, {pat_o200k}},
    {"deepseek-v3 hunyuan-dense", 0, {pat_digits3, pat_han_kana, pat_deepseek3}},
    {"deepseek-coder", BOS, {pat_line_break, pat_letters, pat_marks, pat_han_hangul, each_digit}},
    {"deepseek-llm",
     BOS,
     {pat_line_break, pat_cased, pat_wide_marks, pat_space_at_end, pat_han_hangul, each_digit}},
    {"bloom poro-chat gpt3-finnish", 0, {pat_bloom}},
    {"viking", 0, {pat_bloom, each_digit}},
};

static bool has_name(const char *names, struct view name)
{
    while (name.p && name.n && *names) {
        size_t n = strcspn(names, " ");
        if (n == name.n && memcmp(names, name.p, n) == 0)
            return true;
        names += n + (names[n] == ' ');
    }
    return false;
}

static int add_step(struct pre_step *step, const char *rule, struct err *e)
{
    *step = (struct pre_step){.how = SPLIT_ISOLATED, .kind = PRE_SPLIT};
    if (rule != each_digit)
        return rx_new(&step->rx, rule, strlen(rule), e);
    step->kind = PRE_DIGITS;
    return 0;
}

int tok_set_pre(struct tok *t, struct view name, bool *add_bos, struct err *e)
{
    const struct pre_rule *r = NULL;
    for (size_t i = 0; i < sizeof pre_rules / sizeof *pre_rules && !r; i++)
        if (has_name(pre_rules[i].names, name))
            r = &pre_rules[i];
    if (!r)
        return err_set(e, ST_UNSUPPORTED, "GGUF: pre-tokenizer \"%.*s\" is not supported",
                       name.p ? (int)(name.n < 64 ? name.n : 64) : 0, name.p ? name.p : "");
    for (int i = 0; i < MAX_RULE_STEPS && r->step[i]; i++) {
        int st = add_step(&t->pre.step[t->pre.n++], r->step[i], e);
        if (st)
            return st;
    }
    t->pre.step[t->pre.n++] = (struct pre_step){.kind = PRE_BYTE_LEVEL};
    if (r->flags & NFC)
        t->norm.step[t->norm.n++] = (struct norm_step){.kind = NORM_NFC};
    t->ignore_merges = (r->flags & WHOLE) != 0;
    *add_bos = (r->flags & BOS) != 0;
    t->dec.step[t->dec.n++] = (struct dec_step){.kind = DEC_BYTE_LEVEL};
    return 0;
}
