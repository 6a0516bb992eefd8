/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory of the layer below AscendCL (libruntime.so), for those who call it directly: the engine of graphs, HCCL. Names
 * and the order of parameters as their public sources call them; what is passed on unread is a plain pointer or number.
 * All of them fit in registers, so that an older runtime with fewer parameters is called right all the same.
 */
#ifndef FLEXNPU_ABI_RT_H
#define FLEXNPU_ABI_RT_H

#include "flexnpu_abi/acl_types.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    RT_MEMORY_HOST = 0x81, /* of rtMalloc: memory of the host */
    RT_MEMORY_HOST_SVM = 0x90,
    RT_DRV_SIDE_DEVICE = 1 /* of rtMallocPhysical */
};

/* The head of what rtMallocPhysical is told; the rest is passed on unread. */
typedef struct rtDrvMemPropHead {
    uint32_t side;
    uint32_t devid;
} rtDrvMemPropHead;

ACL_API int rtMalloc(void** devPtr, uint64_t size, uint32_t type, uint16_t moduleId);
ACL_API int rtMallocCached(void** devPtr, uint64_t size, uint32_t type, uint16_t moduleId);
ACL_API int rtMemAlloc(void** devPtr, uint64_t size, int policy, int advise, void* cfg);
ACL_API int rtsMalloc(void** devPtr, uint64_t size, int policy, int advise, void* cfg);
ACL_API int rtDvppMalloc(void** devPtr, uint64_t size, uint16_t moduleId);
ACL_API int rtDvppMallocWithFlag(void** devPtr, uint64_t size, uint32_t flag, uint16_t moduleId);
ACL_API int rtMemAllocManaged(void** ptr, uint64_t size, uint32_t flag, uint16_t moduleId);
ACL_API int rtMemPoolMallocAsync(void** ptr, uint64_t size, void* memPool, void* stream);
ACL_API int rtMallocPhysical(void** handle, size_t size, void* prop, uint64_t flags);
ACL_API int rtsMemMallocPhysical(void** handle, size_t size, int policy, void* cfg);
ACL_API int rtFree(void* devPtr);
ACL_API int rtsFree(void* devPtr);
ACL_API int rtFreeWithDevSync(void* devPtr);
ACL_API int rtDvppFree(void* devPtr);
ACL_API int rtMemFreeManaged(void* ptr);
ACL_API int rtMemPoolFreeAsync(void* ptr, void* stream);
ACL_API int rtFreePhysical(void* handle);
ACL_API int rtsMemFreePhysical(void** handle);
ACL_API int rtMemGetInfo(size_t* free, size_t* total);
ACL_API int rtMemGetInfoEx(uint32_t type, size_t* free, size_t* total);
ACL_API int rtsMemGetInfo(uint32_t type, size_t* free, size_t* total);

#ifdef __cplusplus
}
#endif

#endif
