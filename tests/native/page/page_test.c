/* SPDX-License-Identifier: Apache-2.0 */
#include "flexnpu/page.h"

#include <stdio.h>

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
    return failures == 0 ? 0 : 1;
}
