// SPDX-License-Identifier: Apache-2.0
//
// Who is idle, so that its cores may be lent: by the launches in the report pages, looked at while somebody who could
// borrow is awake. An idle one is asked to ring before it launches again. Used under the arbiter's lock.
#pragma once

#include <vector>

#include "arbiter/turns.h"
#include "arbiter/vnpu.h"

namespace flexnpu {

class Lending {
  public:
    // Says in each view whether it is idle. The time until the next look; 0 for never.
    int64_t step(const std::vector<VNpu*>& vnpus, Turns& turns, int64_t now_ns);

  private:
    int64_t looked_ns_ = 0;
};

}  // namespace flexnpu
