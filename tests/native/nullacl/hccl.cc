// SPDX-License-Identifier: Apache-2.0
// libhccl.so: communicators that take their two buffers as HCCL does: one when they are made, one at the first
// collective, by a lookup on a handle.
#include <dlfcn.h>
#include <stdlib.h>

#include "nullacl.h"

namespace {

struct Communicator {
    void* buffers[2] = {};
};

constexpr size_t kBuffer = size_t{200} << 20;

bool take(void** buffer) {
    void* runtime = dlopen("libascendcl.so", RTLD_LAZY);
    auto* allocate = reinterpret_cast<decltype(&aclrtMallocWithCfg)>(dlsym(runtime, "aclrtMallocWithCfg"));
    return allocate(buffer, kBuffer, ACL_MEM_MALLOC_HUGE_FIRST, nullptr) == ACL_SUCCESS;
}

}  // namespace

extern "C" {

HcclResult HcclGetRootInfo(HcclRootInfo* rootInfo) {
    static char next = 0;
    *rootInfo = {};
    rootInfo->internal[0] = ++next;
    return HCCL_SUCCESS;
}
HcclResult HcclCommInitRootInfo(uint32_t, const HcclRootInfo*, uint32_t rank, HcclComm* comm) {
    auto* made = new Communicator;
    aclrtGetDevice(&null_places()->ranks[rank]);
    *comm = made;
    return take(&made->buffers[0]) ? HCCL_SUCCESS : HCCL_E_OOM;
}
HcclResult HcclCommInitRootInfoConfig(uint32_t nRanks, const HcclRootInfo* rootInfo, uint32_t rank,
                                      const HcclCommConfig*, HcclComm* comm) {
    return HcclCommInitRootInfo(nRanks, rootInfo, rank, comm);
}
// As HCCL's own, it would choose devices on threads that nobody can tell from the program's.
HcclResult HcclCommInitAll(uint32_t, int32_t*, HcclComm*) { return HCCL_E_INTERNAL; }
HcclResult HcclCreateSubCommConfig(HcclComm*, uint32_t, uint32_t* rankIds, uint64_t, uint32_t, HcclCommConfig*,
                                   HcclComm* subComm) {
    *subComm = rankIds != nullptr ? new Communicator : nullptr;
    return HCCL_SUCCESS;
}
HcclResult HcclAllReduce(void*, void*, uint64_t, HcclDataType, HcclReduceOp, HcclComm comm, aclrtStream) {
    auto* own = static_cast<Communicator*>(comm);
    return own->buffers[1] != nullptr || take(&own->buffers[1]) ? HCCL_SUCCESS : HCCL_E_OOM;
}
HcclResult HcclCommDestroy(HcclComm comm) {
    auto* own = static_cast<Communicator*>(comm);
    for (void* buffer : own->buffers) {
        if (buffer != nullptr) aclrtFree(buffer);
    }
    delete own;
    return HCCL_SUCCESS;
}
}
