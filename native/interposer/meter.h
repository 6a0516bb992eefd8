// SPDX-License-Identifier: Apache-2.0
// The thread that ends turns: asleep unless this process has entered one, owes time, or waits for a daemon. One per
// device on which that ever was so.
#pragma once

namespace flexnpu {

class Gate;

bool start_meter(Gate* gate);

}  // namespace flexnpu
