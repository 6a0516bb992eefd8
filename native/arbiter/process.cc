// SPDX-License-Identifier: Apache-2.0
#include "arbiter/process.h"

#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

namespace flexnpu {
namespace {

// The letter behind the name, which is in brackets and may hold anything. 0: cannot be read.
char state_letter(uint32_t pid) {
    char text[512];
    std::snprintf(text, sizeof text, "/proc/%u/stat", pid);
    const int fd = open(text, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    const ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0) return 0;
    text[length] = 0;
    const char* end = std::strrchr(text, ')');
    return end && end[1] == ' ' ? end[2] : '\0';
}

}  // namespace

ProcessState process_state(uint32_t pid) {
    if (pid == 0) return ProcessState::running;
    switch (state_letter(pid)) {
        case 'T':
        case 't':
            return ProcessState::stopped;
        case 'Z':
        case 'X':
        case 'x':
            return ProcessState::gone;
        case 0:
            return kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH ? ProcessState::gone : ProcessState::running;
        default:
            return ProcessState::running;
    }
}

}  // namespace flexnpu
