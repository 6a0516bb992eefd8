// SPDX-License-Identifier: Apache-2.0
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <atomic>

namespace flexnpu {
namespace {

constexpr const char* kNames[] = {"error", "warn", "info", "debug"};
constexpr int kUnread = -1;
std::atomic<int> chosen{kUnread};

int read_level() {
    const char* wanted = getenv("FLEXNPU_LOG");
    const int fallback = static_cast<int>(Level::warn);
    if (wanted == nullptr || *wanted == '\0') return fallback;
    for (int i = 0; i < 4; ++i) {
        if (strcmp(wanted, kNames[i]) == 0) return i;
    }
    chosen.store(fallback, std::memory_order_relaxed);
    log(Level::warn, "FLEXNPU_LOG is '%s', which is none of error, warn, info, debug: 'warn' stays", wanted);
    return fallback;
}

}  // namespace

bool log_enabled(Level level) {
    int limit = chosen.load(std::memory_order_relaxed);
    if (limit == kUnread) {
        limit = read_level();
        chosen.store(limit, std::memory_order_relaxed);
    }
    return static_cast<int>(level) <= limit;
}

void log(Level level, const char* format, ...) {
    if (!log_enabled(level)) return;
    const int saved = errno;  // a caller of the vendor's function may be about to read it
    char line[512];
    int used = snprintf(line, sizeof line, "flexnpu: %s: ", kNames[static_cast<int>(level)]);
    va_list arguments;
    va_start(arguments, format);
    const int room = static_cast<int>(sizeof line) - used - 1;
    const int more = vsnprintf(line + used, static_cast<size_t>(room), format, arguments);
    va_end(arguments);
    used += more < 0 ? 0 : (more >= room ? room - 1 : more);
    line[used++] = '\n';
    if (write(STDERR_FILENO, line, static_cast<size_t>(used)) < 0) {
        // stderr is closed: there is nobody to tell
    }
    errno = saved;
}

}  // namespace flexnpu
