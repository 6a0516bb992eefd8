// SPDX-License-Identifier: Apache-2.0
#include "comm/collective.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <string>

#include "comm/reduce.h"
#include "runtime/copy.h"

namespace softnpu {
namespace {

constexpr uint64_t kSlice = 256U << 10;       // bytes of each rank's share that are summed at a time
constexpr double kCollectiveSetup = 10e-6;    // s; the vendor's modelling constant
constexpr uint32_t kWholeWorld = UINT32_MAX;  // an Arrival's `root` where there is none

bool meet_collective(void* state, Turn& turn) { return static_cast<Collective*>(state)->carry_out(turn); }
void drop_collective(void* state) { delete static_cast<Collective*>(state); }

constexpr Kernel make(const char* name) { return {kKernelMagic, name, nullptr, drop_collective, meet_collective}; }

// By CollectiveKind, under the names that CANN's profiler gives them.
constexpr std::array kKernels = {
    make("hcom_invalid_"),        make("hcom_allReduce_"), make("hcom_broadcast_"),     make("hcom_reduceScatter_"),
    make("hcom_reduceScatterV_"), make("hcom_scatter_"),   make("hcom_allGather_"),     make("hcom_allGatherV_"),
    make("hcom_barrier_"),        make("hcom_send_"),      make("hcom_receive_"),       make("hcom_alltoall_"),
    make("hcom_alltoallv_"),      make("hcom_reduce_"),    make("hcom_batchSendRecv_"),
};

}  // namespace

const char* kind_name(uint32_t kind) { return kind < kKernels.size() ? kKernels[kind].name : kKernels[0].name; }

const Kernel& kernel_of(CollectiveKind kind) { return kKernels[static_cast<uint32_t>(kind)]; }

Collective::Collective(CollectiveKind kind, Communicator& communicator) : kind_(kind), communicator_(communicator) {
    communicator_.retain();
    agree(HCCL_DATA_TYPE_RESERVED, HCCL_REDUCE_RESERVED, kWholeWorld, 0);
}

Collective::~Collective() { communicator_.release(); }

void Collective::agree(HcclDataType type, HcclReduceOp op, uint32_t root, uint64_t count) {
    agreed_ = {static_cast<uint32_t>(kind_), static_cast<uint32_t>(type), static_cast<uint32_t>(op), root, count, 0};
}

bool Collective::point_to_point() const {
    return kind_ == CollectiveKind::send || kind_ == CollectiveKind::receive || kind_ == CollectiveKind::batch;
}

void Collective::send(uint32_t peer, const void* data, uint64_t bytes) {
    auto* const from = static_cast<char*>(const_cast<void*>(data));  // a sending transfer only reads
    if (peer != communicator_.rank()) {
        transfers_.push_back({peer, true, from, bytes});
    } else if (!copies_.empty() && copies_.back().from == nullptr) {
        copies_.back().from = from;
    } else {
        copies_.push_back({nullptr, from, bytes});
    }
}

void Collective::receive(uint32_t peer, void* data, uint64_t bytes) {
    auto* const to = static_cast<char*>(data);
    if (peer != communicator_.rank()) {
        transfers_.push_back({peer, false, to, bytes});
    } else if (!copies_.empty() && copies_.back().to == nullptr) {
        copies_.back().to = to;
        copies_.back().bytes = std::min(copies_.back().bytes, bytes);
    } else {
        copies_.push_back({to, nullptr, bytes});
    }
}

void Collective::reduce(HcclDataType type, HcclReduceOp op, const void* source, std::span<const uint64_t> counts,
                        std::span<const uint64_t> offsets, void* result) {
    reducing_ = true;
    reduction_ = {type,
                  op,
                  static_cast<const char*>(source),
                  {counts.begin(), counts.end()},
                  {offsets.begin(), offsets.end()},
                  static_cast<char*>(result)};
}

bool Collective::has_null_buffer() const {
    const auto elements = [](const std::vector<uint64_t>& counts) {
        return std::any_of(counts.begin(), counts.end(), [](uint64_t count) { return count != 0; });
    };
    return std::any_of(transfers_.begin(), transfers_.end(),
                       [](const Transfer& each) { return each.data == nullptr && each.bytes != 0; }) ||
           (reducing_ && elements(reduction_.counts) &&
            (reduction_.source == nullptr ||
             (reduction_.result == nullptr && reduction_.counts[communicator_.rank()] != 0)));
}

// A rank's links carry what it sends and what it receives at once, so the larger of the two takes the time.
Cost Collective::cost() const {
    double sent = 0;
    double received = 0;
    double local = 0;
    for (const Transfer& transfer : transfers_) {
        (transfer.sending ? sent : received) += static_cast<double>(transfer.bytes);
    }
    for (const Copy& copy : copies_) {
        local += 2.0 * static_cast<double>(copy.bytes);
    }
    if (reducing_) {
        const double size = element_bytes(reduction_.type);
        const double own = static_cast<double>(reduction_.counts[communicator_.rank()]) * size;
        double all = 0;
        for (const uint64_t count : reduction_.counts) {
            all += static_cast<double>(count) * size;
        }
        sent += all - own;
        received += own * (communicator_.ranks() - 1);
        local += 2.0 * own;
    }
    Cost cost{};
    cost.unit = Unit::copy;
    cost.hbm_bytes = sent + received + local;
    cost.peer_bytes = std::max(sent, received);
    cost.fixed_s = kCollectiveSetup;
    cost.cube_rate = 1.0;
    return cost;
}

bool Collective::run_reduction(bool skip_math, std::string* error) {
    const uint32_t ranks = communicator_.ranks();
    const uint32_t own = communicator_.rank();
    const uint64_t size = element_bytes(reduction_.type);
    const uint64_t most = *std::max_element(reduction_.counts.begin(), reduction_.counts.end());
    if (skip_math && most * size > kSmallCopy) {
        return true;
    }
    const uint64_t step = kSlice / size;
    std::vector<std::vector<char>> scratch(ranks);
    for (uint64_t from = 0; from < most; from += step) {
        const auto slice = [&](uint32_t rank) {
            return reduction_.counts[rank] > from ? std::min(step, reduction_.counts[rank] - from) : 0;
        };
        const auto place = [&](uint32_t rank) {
            return const_cast<char*>(reduction_.source) + (reduction_.offsets[rank] + from) * size;
        };
        std::vector<Transfer> transfers;
        std::vector<const void*> sources(ranks);
        for (uint32_t peer = 0; peer < ranks; ++peer) {
            if (peer == own) {
                sources[peer] = place(own);
                continue;
            }
            scratch[peer].resize(slice(own) * size);
            sources[peer] = scratch[peer].data();
            transfers.push_back({peer, true, place(peer), slice(peer) * size});
            transfers.push_back({peer, false, scratch[peer].data(), slice(own) * size});
        }
        if (!communicator_.exchange(transfers, error)) {
            return false;
        }
        if (slice(own) != 0) {
            softnpu::reduce(reduction_.type, reduction_.op, sources, slice(own), reduction_.result + from * size);
        }
    }
    return true;
}

// Point to point, every payload follows a header with its size and when its sender came to it.
bool Collective::run_moves(bool skip_math, int64_t* ready_ns, std::string* error) {
    std::vector<Arrival> headers(transfers_.size());
    std::vector<Transfer> transfers;
    for (size_t i = 0; i < transfers_.size(); ++i) {
        const Transfer& transfer = transfers_[i];
        headers[i] = agreed_;
        headers[i].count = transfer.bytes;
        headers[i].ready_ns = *ready_ns;
        if (point_to_point()) {
            transfers.push_back({transfer.peer, transfer.sending, reinterpret_cast<char*>(&headers[i]),
                                 sizeof headers[i], transfer.sending ? 0 : transfer.bytes});
        }
        if (!skip_math || transfer.bytes <= kSmallCopy) {
            transfers.push_back(transfer);
        }
    }
    if (!communicator_.exchange(transfers, error)) {
        return false;
    }
    for (const Arrival& header : headers) {
        *ready_ns = std::max(*ready_ns, header.ready_ns);
    }
    for (const Copy& copy : copies_) {
        if (copy.to != nullptr && copy.from != nullptr && copy.to != copy.from &&
            (!skip_math || copy.bytes <= kSmallCopy)) {
            std::memmove(copy.to, copy.from, copy.bytes);
        }
    }
    return true;
}

bool Collective::carry_out(Turn& turn) {
    const std::lock_guard lock(communicator_.turn);
    std::string error;
    bool good = true;
    if (!point_to_point()) {
        Arrival arrival = agreed_;
        arrival.ready_ns = turn.ready_ns;
        good = communicator_.meet(arrival, &error);
        turn.ready_ns = arrival.ready_ns;
    }
    good = good && (!reducing_ || run_reduction(turn.skip_math, &error)) &&
           run_moves(turn.skip_math, &turn.ready_ns, &error);
    if (!good) {
        std::snprintf(turn.error, sizeof turn.error, "%s", error.c_str());
    }
    return good;
}

}  // namespace softnpu
