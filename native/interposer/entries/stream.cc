// SPDX-License-Identifier: Apache-2.0
// What a program queues on a stream besides kernels: copies and fills, which pass the gate, and host functions, which
// take no device time and are only counted.
#include "entries/launch.h"
#include "entries/ordinal.h"

namespace flexnpu {
namespace {

constexpr bool is_one_of(uint32_t slot, auto... slots) { return ((slot == slots) || ...); }

// How much a call moves; where that is not among its arguments, one class for all.
template <uint32_t slot>
uint64_t bytes(auto... arguments) {
    if constexpr (is_one_of(slot, slot_aclrtMemcpyAsyncWithDesc, slot_aclrtRandomNumAsync)) {
        return 0;
    } else if constexpr (is_one_of(slot, slot_aclrtMemcpy2d, slot_aclrtMemcpy2dAsync)) {
        return argument<4>(arguments...) * argument<5>(arguments...);
    } else if constexpr (slot == slot_aclrtMemcpyAsyncWithOffset) {
        return argument<4>(arguments...);
    } else if constexpr (is_one_of(slot, slot_aclrtReduceAsync, slot_aclrtMemcpyToSymbol,
                                   slot_aclrtMemcpyToSymbolAsync)) {
        return argument<2>(arguments...);
    } else {
        return argument<3>(arguments...);
    }
}

template <flexnpu_launch_kind kind, uint32_t slot, int stream>
constexpr auto on_queued = [](auto real, auto... arguments) {
    const uint64_t key = launch_key(slot, size_class(bytes<slot>(arguments...)));
    const Pass pass = here().gate.pass(describe<stream>(kind, key, arguments...));
    return real(arguments...);
};

constexpr auto on_host = [](auto real, auto... arguments) {
    here().gate.count(FLEXNPU_LAUNCH_HOST);
    return real(arguments...);
};

// The attributes of a batch name devices. A longer list than this is the caller's own, left as it is: it only matters
// where the vNPU's devices have other numbers than the program knows (open, counted).
constexpr size_t kAttributesAtMost = 64;

class Placed {
  public:
    Placed(aclrtMemcpyBatchAttr* attributes, size_t count) : given_(attributes) {
        if (attributes == nullptr || ordinals_are_physical()) return;
        if (count > kAttributesAtMost) {
            tenant.report.ungoverned();
            return;
        }
        for (size_t i = 0; i < count; ++i) {
            copies_[i] = attributes[i];
            locate_physical(copies_[i].srcLoc);
            locate_physical(copies_[i].dstLoc);
        }
        given_ = copies_;
    }
    aclrtMemcpyBatchAttr* attributes() { return given_; }

  private:
    aclrtMemcpyBatchAttr* given_;
    aclrtMemcpyBatchAttr copies_[kAttributesAtMost];
};

constexpr auto on_batch = [](auto real, void** dsts, size_t* destMaxs, void** srcs, size_t* sizes, size_t numBatches,
                             aclrtMemcpyBatchAttr* attrs, size_t* attrsIndexes, size_t numAttrs, auto... rest) {
    Placed placed(attrs, numAttrs);
    return real(dsts, destMaxs, srcs, sizes, numBatches, placed.attributes(), attrsIndexes, numAttrs, rest...);
};
template <int stream>
constexpr auto on_queued_batch = [](auto real, void** dsts, size_t* destMaxs, void** srcs, size_t* sizes,
                                    size_t numBatches, auto... rest) {
    uint64_t sum = 0;
    for (size_t i = 0; sizes != nullptr && i < numBatches; ++i) sum += sizes[i];
    const uint64_t key = launch_key(slot_aclrtMemcpyBatchAsync, size_class(sum));
    const Pass pass =
        here().gate.pass(describe<stream>(FLEXNPU_LAUNCH_COPY, key, dsts, destMaxs, srcs, sizes, numBatches, rest...));
    return on_batch(real, dsts, destMaxs, srcs, sizes, numBatches, rest...);
};
template <int stream>
constexpr auto on_aclrtMemcpyBatch = on_queued_batch<stream>;
template <int stream>
constexpr auto on_aclrtMemcpyBatchV2 = on_queued_batch<stream>;
template <int stream>
constexpr auto on_aclrtMemcpyBatchAsync = on_queued_batch<stream>;
template <int stream>
constexpr auto on_aclrtMemcpyBatchAsyncV2 = on_queued_batch<stream>;

// No event can be put on a stream that is gone, so the gate forgets it first.
constexpr auto on_stream_end = [](auto real, aclrtStream stream) {
    here().gate.stream_ends(stream);
    return real(stream);
};

}  // namespace

#define FLEXNPU_COPY(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::launch, (on_queued<FLEXNPU_LAUNCH_COPY, slot_##name, stream>))
#define FLEXNPU_SET(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::launch, (on_queued<FLEXNPU_LAUNCH_SET, slot_##name, stream>))
#define FLEXNPU_HOST(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::launch, on_host)
#define FLEXNPU_BATCH(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::launch, on_##name<stream>)
#define FLEXNPU_STREAM(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::launch, on_stream_end)
#include "functions.def"

}  // namespace flexnpu
