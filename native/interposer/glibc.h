// SPDX-License-Identifier: Apache-2.0
// Built with a new glibc, loaded by an old one (2.28): functions that moved or were renewed since are bound to the
// version that both have. Included before every file of libflexnpu.so.
#pragma once

#if defined(__x86_64__)
#define FLEXNPU_OLDEST "GLIBC_2.2.5"
#elif defined(__aarch64__)
#define FLEXNPU_OLDEST "GLIBC_2.17"
#endif

// From libpthread to libc with glibc 2.34 (pthread_sigmask with 2.32).
__asm__(".symver pthread_create, pthread_create@" FLEXNPU_OLDEST);
__asm__(".symver pthread_join, pthread_join@" FLEXNPU_OLDEST);
__asm__(".symver pthread_key_create, pthread_key_create@" FLEXNPU_OLDEST);
__asm__(".symver pthread_once, pthread_once@" FLEXNPU_OLDEST);
__asm__(".symver pthread_setspecific, pthread_setspecific@" FLEXNPU_OLDEST);
__asm__(".symver pthread_sigmask, pthread_sigmask@" FLEXNPU_OLDEST);
