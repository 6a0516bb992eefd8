// SPDX-License-Identifier: Apache-2.0
// fstat was inline before glibc 2.33 and has no older version to bind to. The kernel's structure is the C library's on
// both processors.
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

extern "C" __attribute__((visibility("hidden"))) int fstat(int descriptor, struct stat* about) noexcept {
    return static_cast<int>(syscall(SYS_fstat, descriptor, about));
}
