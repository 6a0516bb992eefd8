// SPDX-License-Identifier: Apache-2.0
// How a row of functions.def becomes an exported function: find the real one, attach, and let the family's handler
// decide what the real one is asked. A call made from within a call of the same guard goes straight on, so that a
// launch is counted once whatever layers it passes (aclrtX, aclrtXImpl, the layer below).
#pragma once

#include "log.h"
#include "lookup.h"
#include "table.h"
#include "tenant.h"

namespace flexnpu {

enum class Guard : uint8_t { ordinal, cores, memory, launch, cache, count };

// Of this thread: how deep it is inside real calls of each guard. Static TLS: reading it never allocates.
extern __thread uint8_t depths[static_cast<size_t>(Guard::count)] __attribute__((tls_model("initial-exec")));

class Depth {
  public:
    explicit Depth(Guard guard) : depth_(depths[static_cast<size_t>(guard)]) { ++depth_; }
    ~Depth() { --depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;
    bool nested() const { return depth_ > 1; }

  private:
    uint8_t& depth_;
};

inline bool within(Guard guard) { return depths[static_cast<size_t>(guard)] != 0; }

// What a call returns without a vNPU (closed): the runtime's internal error, which no caller takes for a full device.
constexpr int kRefused = ACL_ERROR_RT_INTERNAL_ERROR;

enum class Failure { refused, missing };

template <typename Result>
Result fail(Failure why) {
    return static_cast<Result>(why == Failure::refused ? kRefused : ACL_ERROR_API_NOT_SUPPORT);
}
template <>
inline HcclResult fail<HcclResult>(Failure why) {
    return why == Failure::refused ? HCCL_E_UNAVAIL : HCCL_E_NOT_SUPPORT;
}
template <>
inline aclOpExecutor* fail<aclOpExecutor*>(Failure) {
    return nullptr;
}
template <>
inline void fail<void>(Failure) {}

// The program called a function that no installed library has.
void tell_missing(uint32_t slot);

// The handler with the real function already given.
template <typename Handler, typename Real>
struct Bound {
    Handler handler;
    Real real;
    template <typename... Arguments>
    auto operator()(Arguments... arguments) const {
        return handler(real, arguments...);
    }
};
template <typename Handler, typename Real>
Bound(Handler, Real) -> Bound<Handler, Real>;

}  // namespace flexnpu

#define FLEXNPU_BODY(ret, name, slot, args, guard, handler)                         \
    {                                                                               \
        using namespace flexnpu;                                                    \
        const auto real = reinterpret_cast<decltype(&::name)>(real_function(slot)); \
        if (__builtin_expect(real == nullptr, false)) {                             \
            tell_missing(slot);                                                     \
            return fail<ret>(Failure::missing);                                     \
        }                                                                           \
        const Depth depth(guard);                                                   \
        if (depth.nested()) return real args;                                       \
        if (!attached()) return fail<ret>(Failure::refused);                        \
        return Bound{handler, real} args;                                           \
    }

#define FLEXNPU_WRAP_ONE(ret, name, params, args, guard, handler) \
    extern "C" ACL_API ret name params FLEXNPU_BODY(ret, name, slot_##name, args, guard, handler)

#define FLEXNPU_WRAP_runtime(ret, name, params, args, guard, handler) \
    FLEXNPU_WRAP_ONE(ret, name, params, args, guard, handler)         \
    extern "C" ACL_API ret name##Impl params FLEXNPU_BODY(ret, name, first_impl + slot_##name, args, guard, handler)
#define FLEXNPU_WRAP_ascendcl FLEXNPU_WRAP_ONE
#define FLEXNPU_WRAP_compiler FLEXNPU_WRAP_ONE
#define FLEXNPU_WRAP_platform FLEXNPU_WRAP_ONE
#define FLEXNPU_WRAP_opapi FLEXNPU_WRAP_ONE
#define FLEXNPU_WRAP_hccl FLEXNPU_WRAP_ONE
#define FLEXNPU_WRAP_below FLEXNPU_WRAP_ONE

#define FLEXNPU_WRAP(ret, name, params, args, library, guard, handler) \
    FLEXNPU_WRAP_##library(ret, name, params, args, guard, handler)
