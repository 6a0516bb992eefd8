// SPDX-License-Identifier: Apache-2.0
#include "runtime/event.h"

#include <sys/mman.h>

#include <new>

#include "device/futex.h"
#include "device/state.h"
#include "runtime/pages.h"

namespace softnpu {
namespace {

EventState* map_state(int fd, uint64_t offset) {
    void* page = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(offset));
    return page == MAP_FAILED ? nullptr : static_cast<EventState*>(page);
}

}  // namespace

Event* Event::make_shared(PageFile& pages, bool external) {
    const auto offset = pages.take(kPage);
    EventState* const state = offset ? map_state(pages.fd(), *offset) : nullptr;
    if (state == nullptr) {
        if (offset) {
            pages.give_back(*offset, kPage);
        }
        return nullptr;
    }
    auto* event = new Event(external);
    event->state_ = new (state) EventState;
    event->pages_ = &pages;
    event->offset_ = *offset;
    return event;
}

Event* Event::open(uint64_t handle, std::string* error, bool external) {
    const auto found = open_foreign(handle, error);
    if (!found) {
        return nullptr;
    }
    EventState* const state = map_state(found->file->fd(), found->offset);
    if (state == nullptr) {
        *error = "no address space for an event";
        return nullptr;
    }
    auto* event = new Event(external);
    event->state_ = state;
    event->offset_ = found->offset;
    event->owner_ = found->pid;
    event->owner_start_ = start_time_of(found->pid);
    return event;
}

Event::~Event() {
    if (state_ != &own_) {
        munmap(state_, kPage);
    }
    if (pages_ != nullptr) {
        pages_->give_back(offset_, kPage);
    }
}

uint64_t Event::handle() { return pages_ == nullptr ? 0 : pages_->announce(offset_, kPage); }

void Event::complete(uint64_t number, int64_t device_ns) {
    state_->device_ns.store(device_ns);
    uint64_t seen = state_->completed.load();
    while (seen < number && !state_->completed.compare_exchange_weak(seen, number)) {
    }
    state_->set.store(1);
    state_->bell.fetch_add(1);
    // Whoever waits has said so before it looked, so one of the two sees the other.
    if (state_->waiters.load() != 0) {
        futex_wake(state_->bell);
    }
}

bool Event::is_complete(uint64_t number, int64_t* device_ns) const {
    const bool over = state_->completed.load() >= number;
    *device_ns = state_->device_ns.load();
    return over;
}

template <typename Over>
std::optional<int64_t> Event::wait_until(Over over, int32_t timeout_ms) const {
    if (!over()) {
        const int64_t end_ns = timeout_ms < 0 ? INT64_MAX : wall_now_ns() + timeout_ms * int64_t{1'000'000};
        bool in_time = true;
        state_->waiters.fetch_add(1);
        for (uint32_t seen = state_->bell.load(); !over(); seen = state_->bell.load()) {
            futex_nap(state_->bell, seen);
            if (owner_ != 0 && start_time_of(owner_) != owner_start_) {
                break;
            }
            if (wall_now_ns() >= end_ns) {
                in_time = over();
                break;
            }
        }
        state_->waiters.fetch_sub(1);
        if (!in_time) {
            return std::nullopt;
        }
    }
    return state_->device_ns.load();
}

std::optional<int64_t> Event::wait(uint64_t number, int32_t timeout_ms) const {
    return wait_until([&] { return state_->completed.load() >= number; }, timeout_ms);
}

std::optional<int64_t> Event::await(int32_t timeout_ms) const {
    return wait_until([&] { return state_->set.load() != 0; }, timeout_ms);
}

std::optional<int64_t> Event::take(int32_t timeout_ms) {
    return wait_until([&] { return state_->set.exchange(0) != 0; }, timeout_ms);
}

}  // namespace softnpu
