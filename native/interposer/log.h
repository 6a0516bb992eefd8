// SPDX-License-Identifier: Apache-2.0
// One line at a time to stderr. FLEXNPU_LOG chooses how much; a bad value warns and `warn` stays.
#pragma once

namespace flexnpu {

enum class Level : int { error, warn, info, debug };

bool log_enabled(Level level);
void log(Level level, const char* format, ...) __attribute__((format(printf, 2, 3)));

}  // namespace flexnpu
