#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# libflexnpu.so exports what the tables name and nothing else, and needs the C library alone, of glibc 2.28 or newer
# (whose threads were a library of their own before 2.34).
set -eu
library=$1
tables=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

{
    printf '%s\n' dlmopen dlopen dlsym dlvsym
    sed -n 's/^FLEXNPU_ACLNN(\([A-Za-z0-9_]*\),.*/\1\n\1GetWorkspaceSize/p' "$tables/aclnn.def"
    sed -n 's/^FLEXNPU_FORWARD(\([A-Za-z0-9_]*\), [A-Z]*)$/\1/p' "$tables/functions.def"
    sed -n '/^FLEXNPU_FORWARD/d; s/^FLEXNPU_[A-Z]*([^,]*, \([A-Za-z0-9_]*\), .*/\1/p' "$tables/functions.def"
    sed -n 's/^FLEXNPU_[A-Z]*([^,]*, \([A-Za-z0-9_]*\), .*, runtime, [-0-9]*)$/\1Impl/p' "$tables/functions.def"
} | LC_ALL=C sort >"$work/tables"
# _end is the linker's: it shows on aarch64.
nm -D --defined-only "$library" | awk '$3 != "_end" {print $3}' | LC_ALL=C sort >"$work/exports"
[ "$(wc -l <"$work/tables")" -gt 2000 ] || { echo "the tables were not read"; exit 1; }
diff "$work/tables" "$work/exports" || { echo "the exports differ from the tables"; exit 1; }

needed=$(readelf -d "$library" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -v -x -e 'libc\.so\.6' -e 'libpthread\.so\.0' -e 'ld-linux.*' || true)
[ -z "$needed" ] || { echo "libflexnpu.so needs more than libc: $needed"; exit 1; }

# Nothing newer than glibc 2.28, which the oldest systems that CANN supports have.
newest=$(readelf -V "$library" | sed -n 's/.*Name: GLIBC_\([0-9.]*\) .*/\1/p' | sort -V | tail -n 1)
[ -n "$newest" ] || { echo "the versions were not read"; exit 1; }
[ "$(printf '%s\n2.28\n' "$newest" | sort -V | tail -n 1)" = 2.28 ] ||
    { echo "libflexnpu.so needs glibc $newest: bind it to an older version in native/interposer/glibc.h"; exit 1; }

# The constructors are the compiler's own: frame_dummy, and on aarch64 the one that asks which atomics there are.
constructors=$(readelf -d "$library" | sed -n 's/.*(INIT_ARRAYSZ) *\([0-9]*\).*/\1/p')
compilers=$(nm "$library" | grep -c -E ' (frame_dummy|init_have_lse_atomics)$')
[ "${constructors:-0}" -le $((compilers * 8)) ] || { echo "libflexnpu.so has static constructors ($constructors bytes)"; exit 1; }
