// SPDX-License-Identifier: Apache-2.0
// What a program queues on a stream besides kernels: copies, fills, host functions. Counted; never held back.
#include "entries/ordinal.h"

namespace flexnpu {
namespace {

template <flexnpu_launch_kind kind>
constexpr auto on_queued = [](auto real, auto... arguments) {
    here().gate.pass(kind);
    return real(arguments...);
};

// The attributes of a batch name devices. A longer list than this is the caller's own, left as it is: it only matters
// where the vNPU's device is not the first one (open, counted).
constexpr size_t kAttributesAtMost = 64;

class Placed {
  public:
    Placed(aclrtMemcpyBatchAttr* attributes, size_t count) : given_(attributes) {
        if (attributes == nullptr || here().quota.device() == 0) return;
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
constexpr auto on_queued_batch = [](auto real, auto... arguments) {
    here().gate.pass(FLEXNPU_LAUNCH_COPY);
    return on_batch(real, arguments...);
};
constexpr auto on_aclrtMemcpyBatch = on_queued_batch;
constexpr auto on_aclrtMemcpyBatchV2 = on_queued_batch;
constexpr auto on_aclrtMemcpyBatchAsync = on_queued_batch;
constexpr auto on_aclrtMemcpyBatchAsyncV2 = on_queued_batch;

}  // namespace

#define FLEXNPU_COPY(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::launch, on_queued<FLEXNPU_LAUNCH_COPY>)
#define FLEXNPU_SET(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::launch, on_queued<FLEXNPU_LAUNCH_SET>)
#define FLEXNPU_HOST(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::launch, on_queued<FLEXNPU_LAUNCH_HOST>)
#define FLEXNPU_BATCH(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::launch, on_##name)
#include "functions.def"

}  // namespace flexnpu
