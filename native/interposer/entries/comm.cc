// SPDX-License-Identifier: Apache-2.0
// Collectives: each is one unit, which passes the gate at its entry and is never held in the middle, because a rank
// that waits stalls its peers. Inside HCCL the device has its physical number, and what it launches belongs to the
// collective. A communicator is charged for its buffers when it is made, all or nothing, and refused where it would
// wait for itself.
#include <pthread.h>

#include <tuple>

#include "communicators.h"
#include "entries/launch.h"
#include "entries/ordinal.h"

namespace flexnpu {
namespace {

// Every collective ends with communicator and stream.
template <typename... Arguments>
HcclComm communicator_of(Arguments... arguments) {
    return std::get<sizeof...(Arguments) - 2>(std::make_tuple(arguments...));
}

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
    const InCommunicator inside(communicator_of(arguments...));
    return real(arguments...);
};

constexpr auto on_group = [](auto real, auto... arguments) {
    const Depth physical(Guard::ordinal);
    return real(arguments...);
};

// A name that all ranks of a communicator have, and no other communicator.
uint64_t hash(const void* bytes, size_t size, uint64_t so_far = 14695981039346656037ull) {
    const auto* at = static_cast<const unsigned char*>(bytes);
    for (size_t i = 0; i < size; ++i) so_far = (so_far ^ at[i]) * 1099511628211ull;
    return so_far;
}
uint64_t name_of_root(const HcclRootInfo* root, uint32_t count = 1) {
    return root != nullptr && count != 0 ? hash(root, count * sizeof *root) : 0;
}

uint32_t buffer_mb(const HcclCommConfig* config) { return config != nullptr ? config->hcclBufferSize : not_configured; }

template <typename Make>
HcclResult made(uint64_t name, const HcclCommConfig* config, HcclComm* comm, Make make) {
    Membership member;
    HcclResult status = HCCL_SUCCESS;
    if (!member.join(here_ordinal(), name, buffer_bytes(buffer_mb(config)), &status)) return status;
    const Depth physical(Guard::ordinal);
    member.make_here();
    status = make();
    if (status == HCCL_SUCCESS && comm != nullptr && *comm != nullptr) {
        member.keep(*comm);
    } else {
        member.drop();
    }
    current_ordinal = unknown_ordinal;  // HCCL may have changed it
    return status;
}

HcclResult on_HcclCommInitRootInfo(decltype(&::HcclCommInitRootInfo) real, uint32_t nRanks,
                                   const HcclRootInfo* rootInfo, uint32_t rank, HcclComm* comm) {
    return made(name_of_root(rootInfo), nullptr, comm, [&] { return real(nRanks, rootInfo, rank, comm); });
}

HcclResult on_HcclCommInitRootInfoConfig(decltype(&::HcclCommInitRootInfoConfig) real, uint32_t nRanks,
                                         const HcclRootInfo* rootInfo, uint32_t rank, const HcclCommConfig* config,
                                         HcclComm* comm) {
    return made(name_of_root(rootInfo), config, comm, [&] { return real(nRanks, rootInfo, rank, config, comm); });
}

HcclResult on_HcclCommInitRootInfoScalable(decltype(&::HcclCommInitRootInfoScalable) real, uint32_t nRanks,
                                           uint32_t nRoot, const HcclRootInfo* rootInfoList, uint32_t rank,
                                           uint32_t nExtRoot, const HcclCommConfig* config, HcclComm* comm) {
    return made(name_of_root(rootInfoList, nRoot), config, comm,
                [&] { return real(nRanks, nRoot, rootInfoList, rank, nExtRoot, config, comm); });
}

// A rank table names the devices itself, by numbers that no vNPU changes.
HcclResult on_HcclCommInitClusterInfo(decltype(&::HcclCommInitClusterInfo) real, const char* clusterInfo, uint32_t rank,
                                      HcclComm* comm) {
    return made(0, nullptr, comm, [&] { return real(clusterInfo, rank, comm); });
}

HcclResult on_HcclCommInitClusterInfoConfig(decltype(&::HcclCommInitClusterInfoConfig) real, const char* clusterInfo,
                                            uint32_t rank, HcclCommConfig* config, HcclComm* comm) {
    return made(0, config, comm, [&] { return real(clusterInfo, rank, config, comm); });
}

HcclResult on_HcclCreateSubCommConfig(decltype(&::HcclCreateSubCommConfig) real, HcclComm* comm, uint32_t rankNum,
                                      uint32_t* rankIds, uint64_t subCommId, uint32_t subCommRankId,
                                      HcclCommConfig* config, HcclComm* subComm) {
    if (comm == nullptr || rankIds == nullptr) {
        return on_group(real, comm, rankNum, rankIds, subCommId, subCommRankId, config, subComm);
    }
    const uint64_t parent = name_of(*comm);
    const uint64_t ranks = hash(rankIds, rankNum * sizeof *rankIds, hash(&subCommId, sizeof subCommId, parent));
    return made(parent != 0 ? ranks : 0, config, subComm,
                [&] { return real(comm, rankNum, rankIds, subCommId, subCommRankId, config, subComm); });
}

// One process with a rank on each of several devices. HCCL would start a thread per rank that chooses its device by a
// number of ours that it takes for the runtime's; so these are our threads, each with a communicator of its own.
struct Rank {
    Membership member;
    int32_t ordinal = 0;
    int32_t physical = 0;
    uint32_t number = 0;
    uint32_t of = 0;
    const HcclRootInfo* root = nullptr;
    HcclComm comm = nullptr;
    HcclResult status = HCCL_E_INTERNAL;
    pthread_t thread{};
    bool started = false;
};

void* make_rank(void* argument) {
    auto* rank = static_cast<Rank*>(argument);
    const auto set_device = reinterpret_cast<decltype(&::aclrtSetDevice)>(real_function(slot_aclrtSetDevice));
    const auto init = reinterpret_cast<decltype(&::HcclCommInitRootInfo)>(real_function(slot_HcclCommInitRootInfo));
    const Depth physical(Guard::ordinal);
    const Depth launch(Guard::launch);
    current_ordinal = static_cast<uint32_t>(rank->ordinal);
    rank->member.make_here();
    if (set_device == nullptr || init == nullptr || set_device(rank->physical) != ACL_SUCCESS) return nullptr;
    rank->status = init(rank->of, rank->root, rank->number, &rank->comm);
    return nullptr;
}

HcclResult make_all(Rank* ranks, uint32_t count) {
    HcclRootInfo root;
    const auto get_root = reinterpret_cast<decltype(&::HcclGetRootInfo)>(real_function(slot_HcclGetRootInfo));
    if (get_root == nullptr) return HCCL_E_NOT_SUPPORT;
    HcclResult status = on_group(get_root, &root);
    if (status != HCCL_SUCCESS) return status;
    for (uint32_t i = 0; i < count; ++i) {
        ranks[i].root = &root;
        ranks[i].started = pthread_create(&ranks[i].thread, nullptr, make_rank, &ranks[i]) == 0;
    }
    for (uint32_t i = 0; i < count; ++i) {
        if (ranks[i].started) pthread_join(ranks[i].thread, nullptr);
        if (status == HCCL_SUCCESS) status = ranks[i].status;
    }
    return status;
}

// Charged on all devices or on none.
HcclResult join_all(Rank* ranks, uint32_t count) {
    HcclResult status = HCCL_SUCCESS;
    for (uint32_t i = 0; i < count; ++i) {
        if (ranks[i].member.join(static_cast<uint32_t>(ranks[i].ordinal), 0, buffer_bytes(not_configured), &status)) {
            continue;
        }
        while (i > 0) ranks[--i].member.drop();
        break;
    }
    return status;
}

bool place_all(Rank* ranks, uint32_t count, const int32_t* devices) {
    for (uint32_t i = 0; i < count; ++i) {
        ranks[i].ordinal = devices[i];
        ranks[i].number = i;
        ranks[i].of = count;
        if (!to_physical(devices[i], &ranks[i].physical)) return false;
        for (uint32_t other = 0; other < i; ++other) {
            if (devices[other] != devices[i]) continue;
            log(Level::error, "HcclCommInitAll names device %d twice: give each rank a device of its own", devices[i]);
            return false;
        }
    }
    return true;
}

HcclResult on_HcclCommInitAll(decltype(&::HcclCommInitAll), uint32_t ndev, int32_t* devices, HcclComm* comms) {
    if (devices == nullptr || comms == nullptr) return HCCL_E_PTR;
    if (ndev == 0 || ndev > tenant.device_count) {
        log(Level::error, "HcclCommInitAll over %u devices: this vNPU has 1 to %u", ndev, tenant.device_count);
        return HCCL_E_PARA;
    }
    Rank ranks[FLEXNPU_DEVICES];
    if (!place_all(ranks, ndev, devices)) return HCCL_E_PARA;
    HcclResult status = join_all(ranks, ndev);
    if (status != HCCL_SUCCESS) return status;
    status = make_all(ranks, ndev);
    for (uint32_t i = 0; i < ndev; ++i) {
        comms[i] = ranks[i].comm;
        if (ranks[i].status == HCCL_SUCCESS) {
            ranks[i].member.keep(comms[i]);
        } else {
            ranks[i].member.drop();
        }
    }
    return status;
}

HcclResult on_HcclCommDestroy(decltype(&::HcclCommDestroy) real, HcclComm comm) {
    // Before the call, since afterwards another communicator may have the same handle.
    Membership member = Membership::of(comm);
    const HcclResult status = on_group(real, comm);
    if (status == HCCL_SUCCESS) {
        member.drop();
    } else {
        member.keep(comm);
    }
    return status;
}

constexpr auto on_HcclGetRootInfo = on_group;
constexpr auto on_HcclGetRootInfoScalable = on_group;

}  // namespace

#define FLEXNPU_COMM(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::launch, (on_collective<slot_##name, stream>))
#define FLEXNPU_GROUP(ret, name, params, args, library, stream) \
    FLEXNPU_WRAP(ret, name, params, args, library, Guard::launch, on_##name)
#include "functions.def"

}  // namespace flexnpu
