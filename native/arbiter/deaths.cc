// SPDX-License-Identifier: Apache-2.0
#include "arbiter/deaths.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

namespace flexnpu {
namespace {

constexpr uint64_t kStop = UINT64_MAX;
constexpr long kPidfdOpenCall = 434;  // the same number on every architecture

bool add(int epoll_fd, int fd, uint64_t id) {
    epoll_event event{.events = EPOLLIN, .data = {.u64 = id}};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

}  // namespace

Deaths::Deaths(std::function<void(uint64_t)> on_death)
    : on_death_(std::move(on_death)), epoll_fd_(epoll_create1(EPOLL_CLOEXEC)), stop_fd_(eventfd(0, EFD_CLOEXEC)) {
    add(epoll_fd_, stop_fd_, kStop);
}

Deaths::~Deaths() {
    stop();
    for (const auto& [id, fd] : pidfds_) close(fd);
    if (stop_fd_ >= 0) close(stop_fd_);
    if (epoll_fd_ >= 0) close(epoll_fd_);
}

void Deaths::stop() {
    if (!thread_.joinable()) return;
    eventfd_write(stop_fd_, 1);
    thread_.join();
}

void Deaths::watch(uint64_t id, uint32_t pid) {
    if (pid == 0) return;
    const int fd = static_cast<int>(syscall(kPidfdOpenCall, pid, 0));
    if (fd < 0) return;
    const std::lock_guard lock(mutex_);
    if (!add(epoll_fd_, fd, id)) {
        close(fd);
        return;
    }
    pidfds_[id] = fd;
    if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
}

// Closed, it leaves the epoll set: nobody else has it.
void Deaths::forget(uint64_t id) {
    const std::lock_guard lock(mutex_);
    const auto found = pidfds_.find(id);
    if (found == pidfds_.end()) return;
    close(found->second);
    pidfds_.erase(found);
}

void Deaths::run() {
    std::array<epoll_event, 16> events{};
    for (;;) {
        const int count = epoll_wait(epoll_fd_, events.data(), static_cast<int>(events.size()), -1);
        if (count < 0 && errno != EINTR) return;
        for (int i = 0; i < count; ++i) {
            const uint64_t id = events[static_cast<size_t>(i)].data.u64;
            if (id == kStop) return;
            forget(id);
            on_death_(id);
        }
    }
}

}  // namespace flexnpu
