// SPDX-License-Identifier: Apache-2.0
// Collectives: each is one unit, counted at its entry and never held back, because a rank that waits stalls its peers.
// Inside HCCL the device has its physical number, and what it launches belongs to the collective.
#include "entries/ordinal.h"

namespace flexnpu {
namespace {

constexpr auto on_collective = [](auto real, auto... arguments) {
    const Depth physical(Guard::ordinal);
    here().gate.pass(FLEXNPU_LAUNCH_COMM);
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
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::launch, on_collective)
#define FLEXNPU_GROUP(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::launch, on_##name)
#include "functions.def"

}  // namespace flexnpu
