/* SPDX-License-Identifier: Apache-2.0 */
/* uclass.c - code point classes: utf8proc's categories (Unicode 15 in 2.8) plus a table of what
 * Unicode 15 and 16 added, so that an older library splits new letters as the reference does. The
 * table is the difference between Unicode 14 and the character classes of the reference's regex
 * engine (Unicode 16); the classes only grew. Subclasses of M, P and S are not told apart in it. */
#include "uclass.h"

#include <utf8proc.h>

/* clang-format off */
const struct uclass_range uclass_new[] = {
    {0x897, 0x897, "M"}, {0xCF3, 0xCF3, "M"}, {0xECE, 0xECE, "M"}, {0x1B4E, 0x1B4F, "P"},
    {0x1B7F, 0x1B7F, "P"}, {0x1C89, 0x1C89, "Lu"}, {0x1C8A, 0x1C8A, "Ll"}, {0x2427, 0x2429, "S"},
    {0x2FFC, 0x2FFF, "S"}, {0x31E4, 0x31E5, "S"}, {0x31EF, 0x31EF, "S"}, {0xA7CB, 0xA7CC, "Lu"},
    {0xA7CD, 0xA7CD, "Ll"}, {0xA7DA, 0xA7DA, "Lu"}, {0xA7DB, 0xA7DB, "Ll"}, {0xA7DC, 0xA7DC, "Lu"},
    {0x105C0, 0x105F3, "Lo"}, {0x10D40, 0x10D49, "Nd"}, {0x10D4A, 0x10D4D, "Lo"},
    {0x10D4E, 0x10D4E, "Lm"}, {0x10D4F, 0x10D4F, "Lo"}, {0x10D50, 0x10D65, "Lu"},
    {0x10D69, 0x10D6D, "M"}, {0x10D6E, 0x10D6E, "P"}, {0x10D6F, 0x10D6F, "Lm"},
    {0x10D70, 0x10D85, "Ll"}, {0x10D8E, 0x10D8F, "S"}, {0x10EC2, 0x10EC4, "Lo"},
    {0x10EFC, 0x10EFF, "M"}, {0x1123F, 0x11240, "Lo"}, {0x11241, 0x11241, "M"},
    {0x11380, 0x11389, "Lo"}, {0x1138B, 0x1138B, "Lo"}, {0x1138E, 0x1138E, "Lo"},
    {0x11390, 0x113B5, "Lo"}, {0x113B7, 0x113B7, "Lo"}, {0x113B8, 0x113C0, "M"},
    {0x113C2, 0x113C2, "M"}, {0x113C5, 0x113C5, "M"}, {0x113C7, 0x113CA, "M"},
    {0x113CC, 0x113D0, "M"}, {0x113D1, 0x113D1, "Lo"}, {0x113D2, 0x113D2, "M"},
    {0x113D3, 0x113D3, "Lo"}, {0x113D4, 0x113D5, "P"}, {0x113D7, 0x113D8, "P"},
    {0x113E1, 0x113E2, "M"}, {0x116D0, 0x116E3, "Nd"}, {0x11B00, 0x11B09, "P"},
    {0x11BC0, 0x11BE0, "Lo"}, {0x11BE1, 0x11BE1, "P"}, {0x11BF0, 0x11BF9, "Nd"},
    {0x11F00, 0x11F01, "M"}, {0x11F02, 0x11F02, "Lo"}, {0x11F03, 0x11F03, "M"},
    {0x11F04, 0x11F10, "Lo"}, {0x11F12, 0x11F33, "Lo"}, {0x11F34, 0x11F3A, "M"},
    {0x11F3E, 0x11F42, "M"}, {0x11F43, 0x11F4F, "P"}, {0x11F50, 0x11F59, "Nd"},
    {0x11F5A, 0x11F5A, "M"}, {0x1342F, 0x1342F, "Lo"}, {0x13440, 0x13440, "M"},
    {0x13441, 0x13446, "Lo"}, {0x13447, 0x13455, "M"}, {0x13460, 0x143FA, "Lo"},
    {0x16100, 0x1611D, "Lo"}, {0x1611E, 0x1612F, "M"}, {0x16130, 0x16139, "Nd"},
    {0x16D40, 0x16D42, "Lm"}, {0x16D43, 0x16D6A, "Lo"}, {0x16D6B, 0x16D6C, "Lm"},
    {0x16D6D, 0x16D6F, "P"}, {0x16D70, 0x16D79, "Nd"}, {0x18CFF, 0x18CFF, "Lo"},
    {0x1B132, 0x1B132, "Lo"}, {0x1B155, 0x1B155, "Lo"}, {0x1CC00, 0x1CCEF, "S"},
    {0x1CCF0, 0x1CCF9, "Nd"}, {0x1CD00, 0x1CEB3, "S"}, {0x1D2C0, 0x1D2D3, "No"},
    {0x1DF25, 0x1DF2A, "Ll"}, {0x1E030, 0x1E06D, "Lm"}, {0x1E08F, 0x1E08F, "M"},
    {0x1E4D0, 0x1E4EA, "Lo"}, {0x1E4EB, 0x1E4EB, "Lm"}, {0x1E4EC, 0x1E4EF, "M"},
    {0x1E4F0, 0x1E4F9, "Nd"}, {0x1E5D0, 0x1E5ED, "Lo"}, {0x1E5EE, 0x1E5EF, "M"},
    {0x1E5F0, 0x1E5F0, "Lo"}, {0x1E5F1, 0x1E5FA, "Nd"}, {0x1E5FF, 0x1E5FF, "P"},
    {0x1F6DC, 0x1F6DC, "S"}, {0x1F774, 0x1F776, "S"}, {0x1F77B, 0x1F77F, "S"},
    {0x1F7D9, 0x1F7D9, "S"}, {0x1F8B2, 0x1F8BB, "S"}, {0x1F8C0, 0x1F8C1, "S"},
    {0x1FA75, 0x1FA77, "S"}, {0x1FA87, 0x1FA89, "S"}, {0x1FA8F, 0x1FA8F, "S"},
    {0x1FAAD, 0x1FAAF, "S"}, {0x1FABB, 0x1FABF, "S"}, {0x1FAC6, 0x1FAC6, "S"},
    {0x1FACE, 0x1FACF, "S"}, {0x1FADA, 0x1FADC, "S"}, {0x1FADF, 0x1FADF, "S"},
    {0x1FAE8, 0x1FAE9, "S"}, {0x1FAF7, 0x1FAF8, "S"}, {0x1FBCB, 0x1FBEF, "S"},
    {0x2B739, 0x2B739, "Lo"}, {0x2EBF0, 0x2EE5D, "Lo"}, {0x31350, 0x323AF, "Lo"},
};
/* clang-format on */
const size_t n_uclass_new = sizeof uclass_new / sizeof *uclass_new;

int uclass_find_new(uint32_t c)
{
    size_t lo = 0, hi = n_uclass_new;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (uclass_new[mid].last < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n_uclass_new && c >= uclass_new[lo].first ? (int)lo : -1;
}

bool uclass_space(uint32_t c)
{
    if (c < 0x80)
        return c == ' ' || (c >= 9 && c <= 13);
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
           c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

static char major(uint32_t c)
{
    int i = uclass_find_new(c);
    if (i >= 0)
        return uclass_new[i].cls[0];
    return utf8proc_category_string((utf8proc_int32_t)c)[0];
}

/* Alphabetic beyond L, M and Nl: the circled and squared Latin letters. */
static bool other_alphabetic(uint32_t c)
{
    return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
           (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

bool uclass_word(uint32_t c)
{
    int i;
    if (c < 0x80)
        return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
               c == '_';
    i = uclass_find_new(c);
    if (i >= 0)
        return uclass_new[i].cls[0] == 'L' || uclass_new[i].cls[0] == 'M' ||
               (uclass_new[i].cls[0] == 'N' && uclass_new[i].cls[1] == 'd');
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return c == 0x200C || c == 0x200D || other_alphabetic(c);
    }
}

bool uclass_numeric(uint32_t c)
{
    if (c < 0x80)
        return c >= '0' && c <= '9';
    return major(c) == 'N';
}

bool uclass_mark(uint32_t c)
{
    return c >= 0x300 && major(c) == 'M';
}

bool uclass_punct(uint32_t c)
{
    if (c < 0x80)
        return c > 32 && c < 127 && !uclass_word(c) ? true : c == '_';
    return major(c) == 'P';
}
