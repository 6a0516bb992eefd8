// SPDX-License-Identifier: Apache-2.0
// Collectives: each is one unit, which passes the gate at its entry and is never held in the middle, because a rank
// that waits stalls its peers. Inside HCCL the device has its physical number, and what it launches belongs to the
// collective.
#include "entries/launch.h"
#include "entries/ordinal.h"

namespace flexnpu {
namespace {

// The largest number among the arguments is how much it moves, near enough for a class.
constexpr uint64_t largest() { return 0; }
template <typename First, typename... Rest>
uint64_t largest(First first, Rest... rest) {
    const uint64_t others = largest(rest...);
    if constexpr (std::is_integral_v<First>) {
        return static_cast<uint64_t>(first) > others ? static_cast<uint64_t>(first) : others;
    }
    return others;
}

template <uint32_t slot, int stream>
constexpr auto on_collective = [](auto real, auto... arguments) {
    const Depth physical(Guard::ordinal);
    const uint64_t key = launch_key(slot, size_class(largest(arguments...)));
    const Pass pass = here().gate.pass(describe<stream>(FLEXNPU_LAUNCH_COMM, key, arguments...));
    return real(arguments...);
};

constexpr auto on_group = [](auto real, auto... arguments) {
    const Depth physical(Guard::ordinal);
    return real(arguments...);
};

HcclResult on_all(decltype(&::HcclCommInitAll) real, uint32_t ndev, int32_t* devices, HcclComm* comms) {
    int32_t physical = 0;
    if (ndev != 1 || devices == nullptr || !to_physical(devices[0], &physical)) {
        log(Level::error, "HcclCommInitAll over %u devices: a vNPU has one, number 0", ndev);
        return HCCL_E_PARA;
    }
    return on_group(real, ndev, &physical, comms);
}

constexpr auto on_HcclGetRootInfo = on_group;
constexpr auto on_HcclGetRootInfoScalable = on_group;
constexpr auto on_HcclCommInitRootInfo = on_group;
constexpr auto on_HcclCommInitRootInfoConfig = on_group;
constexpr auto on_HcclCommInitRootInfoScalable = on_group;
constexpr auto on_HcclCommInitClusterInfo = on_group;
constexpr auto on_HcclCommInitClusterInfoConfig = on_group;
constexpr auto on_HcclCreateSubCommConfig = on_group;
constexpr auto on_HcclCommDestroy = on_group;
constexpr auto on_HcclCommInitAll = on_all;

}  // namespace

#define FLEXNPU_COMM(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::launch, (on_collective<slot_##name, stream>))
#define FLEXNPU_GROUP(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::launch, on_##name)
#include "functions.def"

}  // namespace flexnpu
