// SPDX-License-Identifier: Apache-2.0
//
// Whether a tenant's process can run at all.
#pragma once

#include <cstdint>

namespace flexnpu {

enum class ProcessState { running, stopped, gone };

// By /proc/PID/stat and kill(PID, 0): stopped by a signal or a debugger; gone or a zombie. Where nothing can be learnt
// (pid 0, a hidden /proc): running. About 20 us.
ProcessState process_state(uint32_t pid);

}  // namespace flexnpu
