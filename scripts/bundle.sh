#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Put programs and the shared libraries they need into one folder that runs on another machine with
# the same or a newer C library: everything but the C library, the driver and CUDA.
#   scripts/bundle.sh FOLDER PROGRAM...      then, there:  FOLDER/run PROGRAM ARGS...
set -euo pipefail
[ $# -ge 2 ] || { sed -n '3,5p' "$0" >&2; exit 64; }
out=$1
shift
mkdir -p "$out/bin" "$out/lib"
stays='^(linux-vdso|ld-linux|libc|libm|libdl|librt|libpthread|libresolv|libcuda|libcudart|libcublas|libcublasLt|libnvidia.*)\.so'
for p in "$@"; do
    cp -L "$p" "$out/bin/"
    ldd "$p" | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | while read -r so; do
        basename "$so" | grep -Eq "$stays" || cp -Lu "$so" "$out/lib/"
    done
done
cat >"$out/run" <<'RUN'
#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
name=$1
shift
export LD_LIBRARY_PATH="$here/lib:/usr/local/cuda/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec "$here/bin/$name" "$@"
RUN
chmod +x "$out/run"
echo "$out: $(ls "$out/bin" | wc -l) programs, $(ls "$out/lib" | wc -l) libraries, $(du -sh "$out" | cut -f1)"
