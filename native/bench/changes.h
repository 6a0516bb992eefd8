// SPDX-License-Identifier: Apache-2.0
// When the core count that a program is told changed, by the program's own clock (CLOCK_MONOTONIC).
#pragma once

#include <cstdint>
#include <cstdio>
#include <ctime>
#include <vector>

#include "flexnpu_abi/acl_rt.h"

inline int64_t now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * int64_t{1'000'000'000} + now.tv_nsec;
}

class CoreChanges {
  public:
    // The cores of an operator that is tiled now.
    uint32_t ask() {
        uint32_t cores = 0;
        aclrtGetResInCurrentThread(ACL_RT_DEV_RES_CUBE_CORE, &cores);
        if (cores != last_) seen_.push_back({now_ns(), last_ = cores});
        return cores;
    }

    void print(FILE* file) const {
        for (size_t i = 0; i < seen_.size(); ++i) {
            std::fprintf(file, "%s[%lld, %u]", i > 0 ? ", " : "", static_cast<long long>(seen_[i].at_ns),
                         seen_[i].cores);
        }
    }

  private:
    struct Change {
        int64_t at_ns;
        uint32_t cores;
    };
    std::vector<Change> seen_;
    uint32_t last_ = 0;
};
