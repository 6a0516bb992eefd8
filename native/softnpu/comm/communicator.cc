// SPDX-License-Identifier: Apache-2.0
#include "comm/communicator.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include "device/state.h"
#include "runtime/status.h"

namespace softnpu {
namespace {

constexpr int64_t kLookEveryNs = 100'000'000;
constexpr int64_t kGraceNs = 2'000'000'000;
constexpr std::chrono::milliseconds kPoll{2};

}  // namespace

Communicator* Communicator::join(const std::string& path, uint32_t ranks, uint32_t rank, Settings settings,
                                 HcclResult* result) {
    bool timed_out = false;
    std::string error;
    Segment* segment = Segment::join(path, ranks, rank, settings.connect_timeout_s, &timed_out, &error);
    if (segment == nullptr) {
        fail(ACL_ERROR_INTERNAL_ERROR, "communicator %s, rank %u: %s", settings.name.c_str(), rank, error.c_str());
        *result = timed_out ? HCCL_E_TIMEOUT : HCCL_E_SYSCALL;
        return nullptr;
    }
    *result = HCCL_SUCCESS;
    return new Communicator(std::unique_ptr<Segment>(segment), path, std::move(settings));
}

void Communicator::release() {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        delete this;
    }
}

void Communicator::close() {
    // Polled: TSan does not know the call under std::timed_mutex.
    for (int64_t end = wall_now_ns() + kGraceNs; wall_now_ns() < end; std::this_thread::sleep_for(kPoll)) {
        if (turn.try_lock()) {
            turn.unlock();
            return;
        }
    }
    aborted_.store(true);
    segment_->leave();
}

bool Communicator::fail_with(HcclResult code, std::string* error, const std::string& why) {
    HcclResult none = HCCL_SUCCESS;
    async_error_.compare_exchange_strong(none, code);
    segment_->give_up();
    *error = "communicator " + settings_.name + ", rank " + std::to_string(rank()) + ": " + why;
    return false;
}

// Whether it makes sense to wait on for what is not done of `transfers`.
bool Communicator::look_around(std::span<const Transfer> transfers, std::string* error) {
    if (aborted_.load()) {
        return fail_with(HCCL_E_UNAVAIL, error, "it was destroyed while a collective waited for other ranks");
    }
    for (const Transfer& transfer : transfers) {
        const bool pending = transfer.done < transfer.bytes && (transfer.sending || segment_->empty(transfer.peer));
        const std::string peer = "rank " + std::to_string(transfer.peer) + " (process " +
                                 std::to_string(segment_->pid_of(transfer.peer)) + ")";
        if (pending && segment_->has_left(transfer.peer)) {
            return fail_with(HCCL_E_REMOTE, error, peer + " destroyed its communicator");
        }
        if (pending && segment_->is_gone(transfer.peer)) {
            return fail_with(HCCL_E_REMOTE, error, peer + " is gone");
        }
    }
    uint32_t by = 0;
    if (segment_->is_broken(&by)) {
        return fail_with(HCCL_E_REMOTE, error, "rank " + std::to_string(by) + " gave up on the communicator");
    }
    return true;
}

bool Communicator::announces(const Transfer& header, std::string* error) {
    const uint64_t count = reinterpret_cast<const Arrival*>(header.data)->count;
    return count == header.payload ||
           fail_with(HCCL_E_PARA, error,
                     "rank " + std::to_string(header.peer) + " sends " + std::to_string(count) +
                         " bytes, this one receives " + std::to_string(header.payload));
}

bool Communicator::exchange(std::span<Transfer> transfers, std::string* error) {
    int64_t moved_ns = wall_now_ns();
    int64_t looked_ns = 0;
    std::vector<bool> busy(2UL * ranks());
    for (;;) {
        const uint32_t ticket = segment_->ticket();
        bool moved = false;
        bool over = true;
        std::fill(busy.begin(), busy.end(), false);
        for (Transfer& transfer : transfers) {
            const size_t lane = 2UL * transfer.peer + (transfer.sending ? 1 : 0);
            if (transfer.done == transfer.bytes || busy[lane]) {
                over = over && transfer.done == transfer.bytes;
                continue;
            }
            char* const data = transfer.data + transfer.done;
            const uint64_t left = transfer.bytes - transfer.done;
            const uint64_t count = transfer.sending ? segment_->write(transfer.peer, data, left)
                                                    : segment_->read(transfer.peer, data, left);
            transfer.done += count;
            moved = moved || count != 0;
            busy[lane] = transfer.done != transfer.bytes;
            if (!busy[lane] && transfer.payload != 0 && !announces(transfer, error)) {
                return false;
            }
            over = over && !busy[lane];
        }
        if (over) {
            return true;
        }
        const int64_t now = wall_now_ns();
        if (moved) {
            moved_ns = now;
            continue;
        }
        if (now - looked_ns >= kLookEveryNs || aborted_.load()) {
            looked_ns = now;
            if (!look_around(transfers, error)) {
                return false;
            }
        }
        if (static_cast<double>(now - moved_ns) * 1e-9 >= settings_.execute_timeout_s) {
            const auto waiting = std::find_if(transfers.begin(), transfers.end(),
                                              [](const Transfer& each) { return each.done != each.bytes; });
            return fail_with(HCCL_E_TIMEOUT, error,
                             "rank " + std::to_string(waiting->peer) + " did not come within " +
                                 std::to_string(static_cast<int64_t>(settings_.execute_timeout_s)) +
                                 " s (HCCL_EXEC_TIMEOUT)");
        }
        segment_->sleep(ticket);
    }
}

bool Communicator::meet(Arrival& own, std::string* error) {
    std::vector<Arrival> others(ranks());
    std::vector<Transfer> transfers;
    for (uint32_t peer = 0; peer < ranks(); ++peer) {
        if (peer != rank()) {
            transfers.push_back({peer, true, reinterpret_cast<char*>(&own), sizeof own});
            transfers.push_back({peer, false, reinterpret_cast<char*>(&others[peer]), sizeof own});
        }
    }
    if (!exchange(transfers, error)) {
        return false;
    }
    int64_t last = own.ready_ns;
    for (uint32_t peer = 0; peer < ranks(); ++peer) {
        const Arrival& other = others[peer];
        if (peer == rank()) {
            continue;
        }
        if (other.kind != own.kind || other.type != own.type || other.op != own.op || other.root != own.root ||
            other.count != own.count) {
            const auto say = [](const Arrival& arrival) {
                return std::string(kind_name(arrival.kind)) + " of " + std::to_string(arrival.count) +
                       " elements (data type " + std::to_string(arrival.type) + ", root " +
                       std::to_string(arrival.root) + ")";
            };
            return fail_with(HCCL_E_PARA, error,
                             "rank " + std::to_string(peer) + " is in " + say(other) + ", this one in " + say(own));
        }
        last = std::max(last, other.ready_ns);
    }
    own.ready_ns = last;
    return true;
}

}  // namespace softnpu
