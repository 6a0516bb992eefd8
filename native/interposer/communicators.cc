// SPDX-License-Identifier: Apache-2.0
#include "communicators.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "blocks.h"
#include "log.h"
#include "tenant.h"

namespace flexnpu {

__thread HcclComm inside_communicator;

namespace {

struct Entry {
    HcclComm comm = nullptr;
    bool taken = false;
    uint32_t ordinal = 0;
    uint64_t name = 0;
    uint64_t bytes = 0;    // charged for its buffers
    uint64_t unspent = 0;  // of them, not allocated by HCCL yet
    int claim = -1;
};

constexpr uint32_t kMost = 256;  // of one process; number 0 is none
constinit Entry entries[kMost];
constinit Lock guard;
__thread uint32_t in_the_making;

uint32_t find(HcclComm comm) {
    for (uint32_t i = 1; comm != nullptr && i < kMost; ++i) {
        if (entries[i].taken && entries[i].comm == comm) return i;
    }
    return 0;
}

uint32_t take_entry() {
    const Held held(guard);
    for (uint32_t i = 1; i < kMost; ++i) {
        if (entries[i].taken) continue;
        entries[i] = Entry{};
        entries[i].taken = true;
        return i;
    }
    return 0;
}

void free_entry(uint32_t index) {
    const Held held(guard);
    entries[index] = Entry{};
}

// A rank on a device is a name that one process of this machine can have at a time, and that ends with the process,
// however that ends: a socket's name without a file. False: another rank of the communicator has it.
bool claim(uint64_t name, int32_t device, int* fd) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const int length = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "flexnpu-comm-%016llx-%d",
                                static_cast<unsigned long long>(name), device);
    *fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (*fd < 0) return true;  // open: no descriptor left; HCCL will need some itself
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + static_cast<size_t>(length));
    if (bind(*fd, reinterpret_cast<const sockaddr*>(&address), size) == 0) return true;
    const bool other = errno == EADDRINUSE;
    close(*fd);
    *fd = -1;
    return !other;
}

}  // namespace

uint64_t buffer_bytes(uint32_t config_mb) {
    uint64_t mb = config_mb;
    if (config_mb == not_configured) {
        const char* text = getenv("HCCL_BUFFSIZE");
        char* end = nullptr;
        const unsigned long long asked = text != nullptr ? strtoull(text, &end, 10) : 0;
        constexpr uint64_t usual = 200;
        mb = asked != 0 && *end == '\0' && asked <= UINT32_MAX ? asked : usual;
    }
    return 2 * (mb << 20);
}

Membership Membership::of(HcclComm comm) {
    const Held held(guard);
    Membership member;
    member.index_ = find(comm);
    if (member.index_ != 0) entries[member.index_].comm = nullptr;
    return member;
}

bool Membership::join(uint32_t ordinal, uint64_t name, uint64_t bytes, HcclResult* why) {
    DeviceTenant& device = tenant.devices[ordinal];
    int fd = -1;
    if (name != 0 && !claim(name, device.quota.device(), &fd)) {
        log(Level::error,
            "device %d has a rank of this communicator already, and two of one communicator would wait for each other "
            "for ever: give each rank a vNPU on a device of its own",
            device.quota.device());
        *why = HCCL_E_PARA;
        return false;
    }
    index_ = take_entry();
    if (index_ == 0) {
        // Open: more communicators than anybody makes.
        tenant.report.ungoverned();
        if (fd >= 0) close(fd);
        return true;
    }
    if (!device.ledger.charge(bytes, device.quota.memory_bytes())) {
        tell_denied(ordinal, bytes);
        free_entry(index_);
        if (fd >= 0) close(fd);
        *why = HCCL_E_OOM;
        return false;
    }
    const Held held(guard);
    entries[index_] = {nullptr, true, ordinal, name, bytes, bytes, fd};
    return true;
}

void Membership::make_here() const { in_the_making = index_; }

void Membership::keep(HcclComm comm) {
    in_the_making = 0;
    const Held held(guard);
    if (index_ != 0) entries[index_].comm = comm;
}

void Membership::drop() {
    in_the_making = 0;
    if (index_ == 0) return;
    guard.acquire();
    const Entry gone = entries[index_];
    entries[index_] = Entry{};
    guard.release();
    tenant.devices[gone.ordinal].ledger.refund(gone.bytes);
    if (gone.claim >= 0) close(gone.claim);
}

uint64_t name_of(HcclComm comm) {
    const Held held(guard);
    return entries[find(comm)].name;
}

// What is much smaller than a buffer is none.
bool spend_reserve(uint64_t bytes) {
    if (__builtin_expect(in_the_making == 0 && inside_communicator == nullptr, true)) return false;
    const Held held(guard);
    Entry& entry = entries[in_the_making != 0 ? in_the_making : find(inside_communicator)];
    if (bytes > entry.unspent || bytes < entry.bytes / 4) return false;
    entry.unspent -= bytes;
    return true;
}

void unspend_reserve(uint64_t bytes) {
    const Held held(guard);
    entries[in_the_making != 0 ? in_the_making : find(inside_communicator)].unspent += bytes;
}

void forget_communicators_in_child() {
    guard.release();
    in_the_making = 0;
    inside_communicator = nullptr;
    for (Entry& entry : entries) {
        if (entry.claim >= 0) close(entry.claim);
        entry = Entry{};
    }
}

}  // namespace flexnpu
