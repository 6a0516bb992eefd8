/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensors and the two-phase operators: phase one (aclnnXGetWorkspaceSize) tiles on the host and makes an executor,
 * phase two (aclnnX) launches it. Phase two is the same for every operator; phase one is declared per operator by
 * whoever calls it.
 */
#ifndef FLEXNPU_ABI_ACLNN_H
#define FLEXNPU_ABI_ACLNN_H

#include "flexnpu_abi/acl_types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aclTensor aclTensor;
typedef struct aclScalar aclScalar;
typedef struct aclIntArray aclIntArray;
typedef struct aclFloatArray aclFloatArray;
typedef struct aclBoolArray aclBoolArray;
typedef struct aclTensorList aclTensorList;
typedef struct aclScalarList aclScalarList;
typedef struct aclOpExecutor aclOpExecutor;
typedef int32_t aclnnStatus;

/* Any operator's phase two: workspace of the size that phase one gave, its executor, the stream to launch on. */
typedef aclnnStatus (*aclnnLaunch)(void* workspace, uint64_t workspaceSize, aclOpExecutor* executor,
                                   aclrtStream stream);

/* Once per process, by programs that use operators without aclInit. */
ACL_API aclnnStatus aclnnInit(const char* configPath);
ACL_API aclnnStatus aclnnFinalize(void);

/* Making and unmaking arguments. `tensorData` is a device address; views share it. */
ACL_API aclTensor* aclCreateTensor(const int64_t* viewDims, uint64_t viewDimsNum, aclDataType dataType,
                                   const int64_t* stride, int64_t offset, aclFormat format, const int64_t* storageDims,
                                   uint64_t storageDimsNum, void* tensorData);
ACL_API aclScalar* aclCreateScalar(void* value, aclDataType dataType);
ACL_API aclIntArray* aclCreateIntArray(const int64_t* value, uint64_t size);
ACL_API aclFloatArray* aclCreateFloatArray(const float* value, uint64_t size);
ACL_API aclBoolArray* aclCreateBoolArray(const bool* value, uint64_t size);
ACL_API aclTensorList* aclCreateTensorList(const aclTensor* const* value, uint64_t size);
ACL_API aclScalarList* aclCreateScalarList(const aclScalar* const* value, uint64_t size);
ACL_API aclnnStatus aclDestroyTensor(const aclTensor* tensor);
ACL_API aclnnStatus aclDestroyScalar(const aclScalar* scalar);
ACL_API aclnnStatus aclDestroyIntArray(const aclIntArray* array);
ACL_API aclnnStatus aclDestroyFloatArray(const aclFloatArray* array);
ACL_API aclnnStatus aclDestroyBoolArray(const aclBoolArray* array);
ACL_API aclnnStatus aclDestroyTensorList(const aclTensorList* array);
ACL_API aclnnStatus aclDestroyScalarList(const aclScalarList* array);

/* Asking them. aclGetViewShape gives an array that the caller frees with delete[]. */
ACL_API aclnnStatus aclGetViewShape(const aclTensor* tensor, int64_t** viewDims, uint64_t* viewDimsNum);
ACL_API aclnnStatus aclGetStorageShape(const aclTensor* tensor, int64_t** storageDims, uint64_t* storageDimsNum);
ACL_API aclnnStatus aclGetDataType(const aclTensor* tensor, aclDataType* dataType);
ACL_API aclnnStatus aclGetRawTensorAddr(const aclTensor* tensor, void** addr);

/* Executors: made by phase one, ended by phase two unless set repeatable. */
ACL_API aclnnStatus aclSetAclOpExecutorRepeatable(aclOpExecutor* executor);
ACL_API aclnnStatus aclDestroyAclOpExecutor(aclOpExecutor* executor);
ACL_API aclnnStatus aclSetTensorAddr(aclOpExecutor* executor, size_t index, aclTensor* tensor, void* addr);

/* torch_npu's executor cache. A key is set before phase one, which then keeps its executor under it; a find with the
 * same key gives that executor and its workspace size, or null. CanUsePTACache says whether the operator's executors
 * may be kept. */
ACL_API void InitPTACacheThreadLocal(void);
ACL_API void UnInitPTACacheThreadLocal(void);
ACL_API void SetPTAHashKey(uint64_t hash);
ACL_API void SetPTACacheHashKey(uint8_t* key, size_t length);
ACL_API aclOpExecutor* PTAGetExecCache(uint64_t hash, uint64_t* workspaceSize);
ACL_API aclOpExecutor* PTAFindExecCache(uint8_t* key, size_t length, uint64_t* workspaceSize);
ACL_API bool CanUsePTACache(const char* operatorName);

/* A thread's pool for large host-side arguments. */
ACL_API int InitHugeMemThreadLocal(void* unused, bool reuse);
ACL_API void UnInitHugeMemThreadLocal(void* unused, bool reuse);
ACL_API void ReleaseHugeMem(void* unused, bool reuse);

#ifdef __cplusplus
}
#endif

#endif /* FLEXNPU_ABI_ACLNN_H */
