/* SPDX-License-Identifier: Apache-2.0 */
/* table.c - the real tables: the CUDA runtime, linked statically, and cuBLASLt, opened at run time.
 *
 * Nothing else in the host code names a function of either library, so a test that brings its own
 * tables instead of this file runs the rest of src/backend/cuda on a machine without a GPU.
 */
#include "lt.h"

#include <dlfcn.h>

#define X(member, fn) .member = fn,
const struct cuda_rt cuda_rt_real = {CUDA_RT_LIST(X)};
#undef X

int cuda_lt_load(struct cuda_lt *lt, struct err *e)
{
    static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12",
                                        "/usr/local/cuda/lib64/libcublasLt.so.13",
                                        "/usr/local/cuda/lib64/libcublasLt.so.12"};
    for (size_t i = 0; !lt->lib && i < sizeof names / sizeof *names; i++)
        lt->lib = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!lt->lib)
        return err_set(e, ST_DEVICE,
                       "libcublasLt.so.13 (or .12) was not found: install the CUDA "
                       "runtime libraries or add their folder to LD_LIBRARY_PATH");
#define X(fn)                                                                                      \
    *(void **)&lt->fn = dlsym(lt->lib, #fn);                                                       \
    if (!lt->fn)                                                                                   \
        return err_set(e, ST_DEVICE, "libcublasLt has no %s", #fn);
    LT_LIST(X)
#undef X
    return 0;
}
