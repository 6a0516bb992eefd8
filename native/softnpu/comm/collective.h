// SPDX-License-Identifier: Apache-2.0
//
// One collective of one rank, as a list of what moves where: made when the program calls, carried out when its stream
// comes to it. Every collective is a reduction, a set of moves, or one after the other.
#pragma once

#include <flexnpu_abi/hccl.h>

#include <cstdint>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "runtime/kernel.h"

namespace softnpu {

enum class CollectiveKind : uint32_t {
    all_reduce = 1,
    broadcast,
    reduce_scatter,
    reduce_scatter_v,
    scatter,
    all_gather,
    all_gather_v,
    barrier,
    send,
    receive,
    all_to_all,
    all_to_all_v,
    reduce,
    batch,
};

// The kernel under which a kind runs on a stream.
const Kernel& kernel_of(CollectiveKind kind);

class Collective {
  public:
    Collective(CollectiveKind kind, Communicator& communicator);
    ~Collective();
    Collective(const Collective&) = delete;
    Collective& operator=(const Collective&) = delete;

    // What all ranks have to agree on; a point-to-point kind has none and meets nobody but its peer.
    void agree(HcclDataType type, HcclReduceOp op, uint32_t root, uint64_t count);

    // Everything in bytes. A move to the own rank is a copy.
    void send(uint32_t peer, const void* data, uint64_t bytes);
    void receive(uint32_t peer, void* data, uint64_t bytes);
    // Rank r's share of the sum is counts[r] elements at offsets[r] of `source`; this rank's goes to `result`.
    void reduce(HcclDataType type, HcclReduceOp op, const void* source, std::span<const uint64_t> counts,
                std::span<const uint64_t> offsets, void* result);

    bool has_null_buffer() const;  // where there are bytes to move
    Cost cost() const;
    CollectiveKind kind() const { return kind_; }
    bool carry_out(Turn& turn);

  private:
    struct Reduction {
        HcclDataType type = HCCL_DATA_TYPE_RESERVED;
        HcclReduceOp op = HCCL_REDUCE_SUM;
        const char* source = nullptr;
        std::vector<uint64_t> counts;   // elements of each rank
        std::vector<uint64_t> offsets;  // elements
        char* result = nullptr;
    };
    struct Copy {
        char* to;
        const char* from;
        uint64_t bytes;
    };

    bool point_to_point() const;
    bool run_reduction(bool skip_math, std::string* error);
    bool run_moves(bool skip_math, int64_t* ready_ns, std::string* error);

    const CollectiveKind kind_;
    Communicator& communicator_;
    Arrival agreed_{};
    bool reducing_ = false;
    Reduction reduction_;
    std::vector<Transfer> transfers_;
    std::vector<Copy> copies_;
};

}  // namespace softnpu
