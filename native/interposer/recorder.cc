// SPDX-License-Identifier: Apache-2.0
#include "recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

namespace flexnpu {

void Recorder::open() {
    const char* path = getenv("FLEXNPU_PHASE_RECORD");
    if (on() || path == nullptr || *path == '\0') return;
    file_ = ::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file_ < 0) log(Level::warn, "FLEXNPU_PHASE_RECORD: '%s' cannot be written (%s)", path, strerror(errno));
}

void Recorder::line(const char* format, ...) const {
    char text[8320];
    va_list arguments;
    va_start(arguments, format);
    const int used = vsnprintf(text, sizeof text - 1, format, arguments);
    va_end(arguments);
    if (used < 0 || used >= static_cast<int>(sizeof text) - 1) return;
    text[used] = '\n';
    if (write(file_, text, static_cast<size_t>(used) + 1) < 0) {
        // The disk is full: the recording ends here, the program goes on.
    }
}

void Sequences::add(uint32_t tokens, uint32_t context, uint32_t times) {
    if (times_ > 0 && (tokens != tokens_ || context != context_)) put();
    tokens_ = tokens;
    context_ = context;
    times_ += times;
}

const char* Sequences::text() {
    put();
    text_[used_] = '\0';
    return text_;
}

void Sequences::put() {
    if (times_ == 0) return;
    const size_t room = sizeof text_ - used_ - 1;
    const int more = times_ == 1 ? snprintf(text_ + used_, room, " %u/%u", tokens_, context_)
                                 : snprintf(text_ + used_, room, " %u/%u*%u", tokens_, context_, times_);
    if (more > 0 && static_cast<size_t>(more) < room) used_ += static_cast<uint32_t>(more);
    times_ = 0;
}

}  // namespace flexnpu
