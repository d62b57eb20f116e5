/* SPDX-License-Identifier: Apache-2.0 */
/* fault.c - fault points of test builds (see mem.h). Tests are single-threaded while armed. */
#include "mem.h"

#ifdef QUIRE_FAULTS
static int64_t armed, count;
static bool fired;

void fault_arm(int64_t nth)
{
    armed = nth;
    count = 0;
    fired = false;
}

bool fault_fired(void)
{
    return fired;
}

bool fault_point(const char *name)
{
    (void)name;
    if (armed == 0 || ++count != armed)
        return false;
    fired = true;
    return true;
}
#else
typedef int fault_c_is_not_empty;
#endif
