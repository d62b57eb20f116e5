/* SPDX-License-Identifier: Apache-2.0 */
/* end_names.c - see end_names.h.
 *
 * The list is that of common chat formats. Left out are marks inside a turn and of code infilling
 * (fim pad, repository and file separators): they end no answer of a chat.
 */
#include "end_names.h"

#include <string.h>

enum { N_MARKED = 2 }; /* at the end: those that must be marked */

const char *const end_names[N_END_NAMES] = {
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|eot|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|calls|>",
    "<|flush|>",
    "<end_of_turn>",
    "<turn|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "[e~[",
    "<\357\275\234end\342\226\201of\342\226\201sentence\357\275\234>",
    "</s>",
    "<eos>",
};

bool end_name_is_control(const char *s, size_t n)
{
    if (n < 4 || (*s != '<' && *s != '[' && *s != '_'))
        return false; /* most of a vocabulary */
    for (int i = 0; i < N_END_NAMES - N_MARKED; i++)
        if (strlen(end_names[i]) == n && memcmp(end_names[i], s, n) == 0)
            return true;
    return false;
}
