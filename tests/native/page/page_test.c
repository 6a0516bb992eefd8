/* SPDX-License-Identifier: Apache-2.0 */
#include "flexnpu/page.h"

#include <stdio.h>

#include "flexnpu/hail.h"

static int failures;

static void expect(int holds, const char* what) {
    if (!holds) {
        fprintf(stderr, "does not hold: %s\n", what);
        ++failures;
    }
}

int main(void) {
    const uint64_t quota = flexnpu_pack_quota(0xfedcba98u, 24, 48);
    expect(flexnpu_quota_grant(quota) == 0xfedcba98u, "the grant comes back");
    expect(flexnpu_quota_cube(quota) == 24, "the cube cores come back");
    expect(flexnpu_quota_vector(quota) == 48, "the vector cores come back");
    expect(flexnpu_quota_cube(flexnpu_pack_quota(1, 0xffff, 0)) == 0xffff, "the largest count fits");
    expect(flexnpu_quota_vector(flexnpu_pack_quota(1, 0xffff, 0)) == 0, "counts do not run into each other");
    expect(offsetof(flexnpu_report_device, applied_grant) % 8 == 0, "what is written while mapped is aligned");
    expect(flexnpu_wait_bucket(0) == 0 && flexnpu_wait_bucket(10000) == 0,
           "a bucket holds what is as long as its bound");
    expect(flexnpu_wait_bucket(10001) == 1, "the next one holds what is longer");
    expect(flexnpu_wait_bucket(1000000000) == FLEXNPU_WAITS - 2, "the last bound is of the last bucket but one");
    expect(flexnpu_wait_bucket(UINT64_MAX) == FLEXNPU_WAITS - 1, "the last bucket holds all that is longer");
    expect(flexnpu_hail_print(0) != 0 && flexnpu_hail_print(1) != flexnpu_hail_print(2),
           "hails have prints of their own");
    expect(flexnpu_hail_print(0x123456789abcdef0u) == 0x2cf19d1b6a489f8fu, "SipHash-2-4, as openssl has it");
    uint64_t flipped = 0;
    for (int bit = 0; bit < 64; ++bit) flipped |= flexnpu_hail_print(7) ^ flexnpu_hail_print(7 ^ (uint64_t)1 << bit);
    expect(flipped == UINT64_MAX, "every bit of a print depends on the hail");
    return failures == 0 ? 0 : 1;
}
