// SPDX-License-Identifier: Apache-2.0
// The one thread of ours: asleep until the revision changes, then it tells the daemon when the change is applied.
#pragma once

namespace flexnpu {

bool start_herald();

}  // namespace flexnpu
