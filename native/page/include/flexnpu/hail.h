/* SPDX-License-Identifier: Apache-2.0
 *
 * Hails: how a vNPU that may go before the others stops them at once, before the daemon's thread has woken.
 *
 * Every tenant can write the hail page, so what stands there is worth nothing by itself. The daemon tells the one vNPU
 * that may hail on a device a random number, and all others its print, from which the number cannot be found. A word of
 * that print is a hail, any other is noise. Once told it is known to all, and the daemon never gives it again.
 */
#ifndef FLEXNPU_HAIL_H
#define FLEXNPU_HAIL_H

#include <stdint.h>

static inline uint64_t flexnpu_hail_turned(uint64_t word, unsigned by) { return word << by | word >> (64 - by); }

/* SipHash-2-4 (Aumasson, Bernstein) of the word, under a key that is no secret: a function of one way. Never 0. */
static inline uint64_t flexnpu_hail_print(uint64_t hail) {
    uint64_t a = 0x736f6d6570736575u, b = 0x646f72616e646f6du ^ 0x4e584c46u, c = 0x6c7967656e657261u,
             d = 0x7465646279746573u ^ 0x4e584c46u;
    const uint64_t blocks[2] = {hail, (uint64_t)8 << 56};
    for (int i = 0; i < 8; ++i) {
        if (i < 4 && i % 2 == 0) d ^= blocks[i / 2];
        if (i == 4) c ^= 0xff;
        a += b;
        b = flexnpu_hail_turned(b, 13) ^ a;
        a = flexnpu_hail_turned(a, 32);
        c += d;
        d = flexnpu_hail_turned(d, 16) ^ c;
        a += d;
        d = flexnpu_hail_turned(d, 21) ^ a;
        c += b;
        b = flexnpu_hail_turned(b, 17) ^ c;
        c = flexnpu_hail_turned(c, 32);
        if (i < 4 && i % 2 == 1) a ^= blocks[i / 2];
    }
    const uint64_t print = a ^ b ^ c ^ d;
    return print != 0 ? print : 1;
}

#endif /* FLEXNPU_HAIL_H */
