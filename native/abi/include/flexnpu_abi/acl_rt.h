/* SPDX-License-Identifier: Apache-2.0
 *
 * AscendCL runtime functions, by what they act on. A pointer that a function fills belongs to the caller; a handle that
 * it makes is given back with the matching destroy, free or release call.
 */
#ifndef FLEXNPU_ABI_ACL_RT_H
#define FLEXNPU_ABI_ACL_RT_H

#include "flexnpu_abi/acl_types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Process */
ACL_API aclError aclInit(const char* configPath);
ACL_API aclError aclFinalize(void);
ACL_API aclError aclFinalizeReference(uint64_t* refCount);
ACL_API aclError aclrtGetVersion(int32_t* majorVersion, int32_t* minorVersion, int32_t* patchVersion);
ACL_API aclError aclsysGetCANNVersion(aclCANNPackageName name, aclCANNPackageVersion* version);
ACL_API aclError aclsysGetVersionStr(char* pkgName, char* versionStr);
ACL_API aclError aclsysGetVersionNum(char* pkgName, int32_t* versionNum);
ACL_API const char* aclrtGetSocName(void);
ACL_API void aclAppLog(aclLogLevel logLevel, const char* func, const char* file, uint32_t line, const char* fmt, ...);
ACL_API const char* aclGetRecentErrMsg(void);
ACL_API aclError aclGetCannAttributeList(const aclCannAttr** cannAttrList, size_t* num);
ACL_API aclError aclGetCannAttribute(aclCannAttr cannAttr, int32_t* value);

/* Device */
ACL_API aclError aclrtSetDevice(int32_t deviceId);
ACL_API aclError aclrtResetDevice(int32_t deviceId);
ACL_API aclError aclrtResetDeviceForce(int32_t deviceId);
ACL_API aclError aclrtGetDevice(int32_t* deviceId);
ACL_API aclError aclrtGetDeviceCount(uint32_t* count);
ACL_API aclError aclrtGetRunMode(aclrtRunMode* runMode);
ACL_API aclError aclrtSynchronizeDevice(void);
ACL_API aclError aclrtSynchronizeDeviceWithTimeout(int32_t timeout);
ACL_API aclError aclrtSetTsDevice(aclrtTsId tsId);
ACL_API aclError aclrtQueryDeviceStatus(int32_t deviceId, aclrtDeviceStatus* deviceStatus);
ACL_API aclError aclrtDeviceTaskAbort(int32_t deviceId, uint32_t timeout);
ACL_API aclError aclrtGetPrimaryCtxState(int32_t deviceId, uint32_t* flags, int32_t* active);
ACL_API aclError aclrtDeviceGetStreamPriorityRange(int32_t* leastPriority, int32_t* greatestPriority);
ACL_API aclError aclrtDeviceGetBareTgid(int32_t* pid);
ACL_API aclError aclrtGetLogicDevIdByUserDevId(const int32_t userDevid, int32_t* const logicDevId);
ACL_API aclError aclrtGetUserDevIdByLogicDevId(const int32_t logicDevId, int32_t* const userDevid);
ACL_API aclError aclrtGetLogicDevIdByPhyDevId(const int32_t phyDevId, int32_t* const logicDevId);
ACL_API aclError aclrtGetPhyDevIdByLogicDevId(const int32_t logicDevId, int32_t* const phyDevId);
ACL_API aclError aclrtDeviceCanAccessPeer(int32_t* canAccessPeer, int32_t deviceId, int32_t peerDeviceId);
ACL_API aclError aclrtDeviceEnablePeerAccess(int32_t peerDeviceId, uint32_t flags);
ACL_API aclError aclrtDeviceDisablePeerAccess(int32_t peerDeviceId);
ACL_API aclError aclrtDevicePeerAccessStatus(int32_t deviceId, int32_t peerDeviceId, int32_t* status);
ACL_API aclError aclrtSetDeviceSatMode(aclrtFloatOverflowMode mode);
ACL_API aclError aclrtGetDeviceSatMode(aclrtFloatOverflowMode* mode);
ACL_API aclError aclrtGetOverflowStatus(void* outputAddr, size_t outputSize, aclrtStream stream);
ACL_API aclError aclrtResetOverflowStatus(aclrtStream stream);
ACL_API aclError aclrtCheckArchCompatibility(const char* socVersion, int32_t* canCompatible);

/* What the device has, and how much of it this program may use */
ACL_API aclError aclrtGetDeviceInfo(uint32_t deviceId, aclrtDevAttr attr, int64_t* value);
ACL_API aclError aclGetDeviceCapability(uint32_t deviceId, aclDeviceInfo deviceInfo, int64_t* value);
ACL_API aclError aclrtGetDeviceCapability(int32_t deviceId, aclrtDevFeatureType devFeatureType, int32_t* value);
ACL_API aclError aclplatformGetDeviceInfo(aclplatformDevInfo infoType, char* value, uint32_t maxLen);
ACL_API aclError aclrtGetDeviceUtilizationRate(int32_t deviceId, aclrtUtilizationInfo* utilizationInfo);
ACL_API aclError aclrtDeviceGetUuid(int32_t deviceId, aclrtUuid* uuid);
ACL_API aclError aclrtGetDevicesTopo(uint32_t deviceId, uint32_t otherDeviceId, uint64_t* value);
ACL_API aclError aclrtGetDeviceResLimit(int32_t deviceId, aclrtDevResLimitType type, uint32_t* value);
ACL_API aclError aclrtSetDeviceResLimit(int32_t deviceId, aclrtDevResLimitType type, uint32_t value);
ACL_API aclError aclrtResetDeviceResLimit(int32_t deviceId);
ACL_API aclError aclrtGetStreamResLimit(aclrtStream stream, aclrtDevResLimitType type, uint32_t* value);
ACL_API aclError aclrtSetStreamResLimit(aclrtStream stream, aclrtDevResLimitType type, uint32_t value);
ACL_API aclError aclrtResetStreamResLimit(aclrtStream stream);
ACL_API aclError aclrtUseStreamResInCurrentThread(aclrtStream stream);
ACL_API aclError aclrtUnuseStreamResInCurrentThread(aclrtStream stream);
ACL_API aclError aclrtGetResInCurrentThread(aclrtDevResLimitType type, uint32_t* value);

/* Context and options */
ACL_API aclError aclrtCreateContext(aclrtContext* context, int32_t deviceId);
ACL_API aclError aclrtDestroyContext(aclrtContext context);
ACL_API aclError aclrtSetCurrentContext(aclrtContext context);
ACL_API aclError aclrtGetCurrentContext(aclrtContext* context);
ACL_API aclError aclrtCtxGetCurrentDefaultStream(aclrtStream* stream);
ACL_API aclError aclrtCtxGetSysParamOpt(aclSysParamOpt opt, int64_t* value);
ACL_API aclError aclrtCtxSetSysParamOpt(aclSysParamOpt opt, int64_t value);
ACL_API aclError aclrtGetSysParamOpt(aclSysParamOpt opt, int64_t* value);
ACL_API aclError aclrtSetSysParamOpt(aclSysParamOpt opt, int64_t value);
ACL_API aclError aclrtSetOpWaitTimeout(uint32_t timeout);
ACL_API aclError aclrtSetOpExecuteTimeOut(uint32_t timeout);
ACL_API aclError aclrtSetOpExecuteTimeOutWithMs(uint32_t timeout);
ACL_API aclError aclrtSetOpExecuteTimeOutV2(uint64_t timeout, uint64_t* actualTimeout);
ACL_API aclError aclrtGetOpExecuteTimeout(uint32_t* const timeoutMs);
ACL_API aclError aclrtGetOpTimeOutInterval(uint64_t* interval);

/* Memory: device blocks */
ACL_API aclError aclrtMalloc(void** devPtr, size_t size, aclrtMemMallocPolicy policy);
ACL_API aclError aclrtMallocAlign32(void** devPtr, size_t size, aclrtMemMallocPolicy policy);
ACL_API aclError aclrtMallocCached(void** devPtr, size_t size, aclrtMemMallocPolicy policy);
ACL_API aclError aclrtMallocWithCfg(void** devPtr, size_t size, aclrtMemMallocPolicy policy, aclrtMallocConfig* cfg);
ACL_API aclError aclrtMallocForTaskScheduler(void** devPtr, size_t size, aclrtMemMallocPolicy policy,
                                             aclrtMallocConfig* cfg);
ACL_API aclError aclrtMemAllocManaged(void** ptr, uint64_t size, uint32_t flag);
ACL_API aclError aclrtFree(void* devPtr);
ACL_API aclError aclrtFreeWithDevSync(void* devPtr);
ACL_API aclError aclrtGetMemInfo(aclrtMemAttr attr, size_t* free, size_t* total);
ACL_API aclError aclrtGetMemUsageInfo(int32_t deviceId, aclrtMemUsageInfo* memUsageInfo, size_t inputNum,
                                      size_t* outputNum);
ACL_API aclError aclrtPointerGetAttributes(const void* ptr, aclrtPtrAttributes* attributes);
ACL_API aclError aclrtMemGetAddressRange(void* ptr, void** pbase, size_t* psize);
ACL_API aclError aclrtCheckMemType(void** addrList, uint32_t size, uint32_t memType, uint32_t* checkResult,
                                   uint32_t reserve);
ACL_API aclError aclrtMemFlush(void* devPtr, size_t size);
ACL_API aclError aclrtMemInvalidate(void* devPtr, size_t size);

/* Memory: pools */
ACL_API aclError aclrtMemPoolCreate(aclrtMemPool* memPool, const aclrtMemPoolProps* poolProps);
ACL_API aclError aclrtMemPoolDestroy(const aclrtMemPool memPool);
ACL_API aclError aclrtMemPoolSetAttr(aclrtMemPool memPool, aclrtMemPoolAttr attr, void* value);
ACL_API aclError aclrtMemPoolGetAttr(aclrtMemPool memPool, aclrtMemPoolAttr attr, void* value);
ACL_API aclError aclrtMemPoolMallocAsync(void** ptr, size_t size, aclrtMemPool memPool, aclrtStream stream);
ACL_API aclError aclrtMemPoolFreeAsync(void* ptr, aclrtStream stream);
ACL_API aclError aclrtMemPoolTrimTo(aclrtMemPool memPool, size_t minBytesToKeep);

/* Memory: physical blocks mapped into reserved addresses */
ACL_API aclError aclrtMallocPhysical(aclrtDrvMemHandle* handle, size_t size, const aclrtPhysicalMemProp* prop,
                                     uint64_t flags);
ACL_API aclError aclrtFreePhysical(aclrtDrvMemHandle handle);
ACL_API aclError aclrtReserveMemAddress(void** virPtr, size_t size, size_t alignment, void* expectPtr, uint64_t flags);
ACL_API aclError aclrtReserveMemAddressNoUCMemory(void** virPtr, size_t size, size_t alignment, void* expectPtr,
                                                  uint64_t flags);
ACL_API aclError aclrtReleaseMemAddress(void* virPtr);
ACL_API aclError aclrtMapMem(void* virPtr, size_t size, size_t offset, aclrtDrvMemHandle handle, uint64_t flags);
ACL_API aclError aclrtUnmapMem(void* virPtr);
ACL_API aclError aclrtMemGetAllocationGranularity(aclrtPhysicalMemProp* prop, aclrtMemGranularityOptions option,
                                                  size_t* granularity);
ACL_API aclError aclrtMemRetainAllocationHandle(void* virPtr, aclrtDrvMemHandle* handle);
ACL_API aclError aclrtMemGetAllocationPropertiesFromHandle(aclrtDrvMemHandle handle, aclrtPhysicalMemProp* prop);
ACL_API aclError aclrtMemSetAccess(void* virPtr, size_t size, aclrtMemAccessDesc* desc, size_t count);
ACL_API aclError aclrtMemGetAccess(void* virPtr, aclrtMemLocation* location, uint64_t* flag);

/* Memory: shared between processes */
ACL_API aclError aclrtMemExportToShareableHandle(aclrtDrvMemHandle handle, aclrtMemHandleType handleType,
                                                 uint64_t flags, uint64_t* shareableHandle);
ACL_API aclError aclrtMemExportToShareableHandleV2(aclrtDrvMemHandle handle, uint64_t flags,
                                                   aclrtMemSharedHandleType shareType, void* shareableHandle);
ACL_API aclError aclrtMemImportFromShareableHandle(uint64_t shareableHandle, int32_t deviceId,
                                                   aclrtDrvMemHandle* handle);
ACL_API aclError aclrtMemImportFromShareableHandleV2(void* shareableHandle, aclrtMemSharedHandleType shareType,
                                                     uint64_t flags, aclrtDrvMemHandle* handle);
ACL_API aclError aclrtMemSetPidToShareableHandle(uint64_t shareableHandle, int32_t* pid, size_t pidNum);
ACL_API aclError aclrtMemSetPidToShareableHandleV2(void* shareableHandle, aclrtMemSharedHandleType shareType,
                                                   int32_t* pid, size_t pidNum);
ACL_API aclError aclrtIpcMemGetExportKey(void* devPtr, size_t size, char* key, size_t len, uint64_t flags);
ACL_API aclError aclrtIpcMemClose(const char* key);
ACL_API aclError aclrtIpcMemImportByKey(void** devPtr, const char* key, uint64_t flags);
ACL_API aclError aclrtIpcMemSetImportPid(const char* key, int32_t* pid, size_t num);
ACL_API aclError aclrtIpcMemSetAttr(const char* key, aclrtIpcMemAttrType type, uint64_t attr);

/* Memory: host */
ACL_API aclError aclrtMallocHost(void** hostPtr, size_t size);
ACL_API aclError aclrtMallocHostWithCfg(void** ptr, uint64_t size, aclrtMallocConfig* cfg);
ACL_API aclError aclrtFreeHost(void* hostPtr);
ACL_API aclError aclrtFreeHostWithDevSync(void* hostPtr);
ACL_API aclError aclrtHostRegister(void* ptr, uint64_t size, aclrtHostRegisterType type, void** devPtr);
ACL_API aclError aclrtHostRegisterV2(void* ptr, uint64_t size, uint32_t flag);
ACL_API aclError aclrtHostGetDevicePointer(void* pHost, void** pDevice, uint32_t flag);
ACL_API aclError aclrtHostUnregister(void* ptr);

/* Copies and fills */
ACL_API aclError aclrtMemcpy(void* dst, size_t destMax, const void* src, size_t count, aclrtMemcpyKind kind);
ACL_API aclError aclrtMemcpyAsync(void* dst, size_t destMax, const void* src, size_t count, aclrtMemcpyKind kind,
                                  aclrtStream stream);
ACL_API aclError aclrtMemcpyAsyncWithCondition(void* dst, size_t destMax, const void* src, size_t count,
                                               aclrtMemcpyKind kind, aclrtStream stream);
ACL_API aclError aclrtMemcpy2d(void* dst, size_t dpitch, const void* src, size_t spitch, size_t width, size_t height,
                               aclrtMemcpyKind kind);
ACL_API aclError aclrtMemcpy2dAsync(void* dst, size_t dpitch, const void* src, size_t spitch, size_t width,
                                    size_t height, aclrtMemcpyKind kind, aclrtStream stream);
ACL_API aclError aclrtMemcpyBatch(void** dsts, size_t* destMaxs, void** srcs, size_t* sizes, size_t numBatches,
                                  aclrtMemcpyBatchAttr* attrs, size_t* attrsIndexes, size_t numAttrs,
                                  size_t* failIndex);
ACL_API aclError aclrtMemcpyBatchV2(void** dsts, size_t* destMaxs, void** srcs, size_t* sizes, size_t numBatches,
                                    aclrtMemcpyBatchAttr* attrs, size_t* attrsIndexes, size_t numAttrs);
ACL_API aclError aclrtMemcpyBatchAsync(void** dsts, size_t* destMaxs, void** srcs, size_t* sizes, size_t numBatches,
                                       aclrtMemcpyBatchAttr* attrs, size_t* attrsIndexes, size_t numAttrs,
                                       size_t* failIndex, aclrtStream stream);
ACL_API aclError aclrtMemcpyBatchAsyncV2(void** dsts, size_t* destMaxs, void** srcs, size_t* sizes, size_t numBatches,
                                         aclrtMemcpyBatchAttr* attrs, size_t* attrsIndexes, size_t numAttrs,
                                         aclrtStream stream);
ACL_API aclError aclrtMemcpyAsyncWithOffset(void** dst, size_t destMax, size_t dstDataOffset, const void** src,
                                            size_t count, size_t srcDataOffset, aclrtMemcpyKind kind,
                                            aclrtStream stream);
ACL_API aclError aclrtMemcpyToSymbol(const void* symbol, const void* src, size_t count, size_t offset,
                                     aclrtMemcpyKind kind);
ACL_API aclError aclrtMemcpyToSymbolAsync(const void* symbol, const void* src, size_t count, size_t offset,
                                          aclrtMemcpyKind kind, aclrtStream stream);
ACL_API aclError aclrtMemcpyFromSymbol(void* dst, size_t dstMax, const void* symbol, size_t count, size_t offset,
                                       aclrtMemcpyKind kind);
ACL_API aclError aclrtMemcpyFromSymbolAsync(void* dst, size_t dstMax, const void* symbol, size_t count, size_t offset,
                                            aclrtMemcpyKind kind, aclrtStream stream);
ACL_API aclError aclrtMemcpyAsyncWithDesc(void* desc, aclrtMemcpyKind kind, aclrtStream stream);
ACL_API aclError aclrtMemset(void* devPtr, size_t maxCount, int32_t value, size_t count);
ACL_API aclError aclrtMemsetAsync(void* devPtr, size_t maxCount, int32_t value, size_t count, aclrtStream stream);
ACL_API aclError aclrtMemsetD32(void* ptr, size_t memSize, uint32_t value, size_t N);
ACL_API aclError aclrtMemsetD32Async(void* ptr, size_t memSize, uint32_t value, size_t N, aclrtStream stream);
ACL_API aclError aclrtReduceAsync(void* dst, const void* src, uint64_t count, aclrtReduceKind kind, aclDataType type,
                                  aclrtStream stream, void* reserve);
ACL_API aclError aclrtRandomNumAsync(const aclrtRandomNumTaskInfo* taskInfo, const aclrtStream stream, void* reserve);
ACL_API aclError aclrtCmoAsync(void* src, size_t size, aclrtCmoType cmoType, aclrtStream stream);

/* Stream */
ACL_API aclError aclrtCreateStream(aclrtStream* stream);
ACL_API aclError aclrtCreateStreamV2(aclrtStream* stream, const aclrtStreamConfigHandle* handle);
ACL_API aclError aclrtCreateStreamWithConfig(aclrtStream* stream, uint32_t priority, uint32_t flag);
ACL_API aclError aclrtDestroyStream(aclrtStream stream);
ACL_API aclError aclrtDestroyStreamForce(aclrtStream stream);
ACL_API aclError aclrtSynchronizeStream(aclrtStream stream);
ACL_API aclError aclrtSynchronizeStreamWithTimeout(aclrtStream stream, int32_t timeout);
ACL_API aclError aclrtStreamQuery(aclrtStream stream, aclrtStreamStatus* status);
ACL_API aclError aclrtStreamGetId(aclrtStream stream, int32_t* streamId);
ACL_API aclError aclrtStreamGetPriority(aclrtStream stream, uint32_t* priority);
ACL_API aclError aclrtStreamGetFlags(aclrtStream stream, uint32_t* flags);
ACL_API aclError aclrtStreamWaitEvent(aclrtStream stream, aclrtEvent event);
ACL_API aclError aclrtStreamWaitEventWithTimeout(aclrtStream stream, aclrtEvent event, int32_t timeout);
ACL_API aclError aclrtSetStreamFailureMode(aclrtStream stream, uint64_t mode);
ACL_API aclError aclrtSetStreamOverflowSwitch(aclrtStream stream, uint32_t flag);
ACL_API aclError aclrtGetStreamOverflowSwitch(aclrtStream stream, uint32_t* flag);
ACL_API aclError aclrtSetStreamAttribute(aclrtStream stream, aclrtStreamAttr stmAttrType, aclrtStreamAttrValue* value);
ACL_API aclError aclrtGetStreamAttribute(aclrtStream stream, aclrtStreamAttr stmAttrType, aclrtStreamAttrValue* value);
ACL_API aclError aclrtStreamAbort(aclrtStream stream);
ACL_API aclError aclrtStreamStop(aclrtStream stream);
ACL_API aclError aclrtGetStreamAvailableNum(uint32_t* streamCount);
ACL_API aclError aclrtValueWrite(void* devAddr, uint64_t value, uint32_t flag, aclrtStream stream);
ACL_API aclError aclrtValueWait(void* devAddr, uint64_t value, uint32_t flag, aclrtStream stream);
ACL_API aclError aclrtActiveStream(aclrtStream activeStream, aclrtStream stream);

/* Event */
ACL_API aclError aclrtCreateEvent(aclrtEvent* event);
ACL_API aclError aclrtCreateEventWithFlag(aclrtEvent* event, uint32_t flag);
ACL_API aclError aclrtCreateEventExWithFlag(aclrtEvent* event, uint32_t flag);
ACL_API aclError aclrtDestroyEvent(aclrtEvent event);
ACL_API aclError aclrtRecordEvent(aclrtEvent event, aclrtStream stream);
ACL_API aclError aclrtResetEvent(aclrtEvent event, aclrtStream stream);
ACL_API aclError aclrtQueryEvent(aclrtEvent event, aclrtEventStatus* status);
ACL_API aclError aclrtQueryEventStatus(aclrtEvent event, aclrtEventRecordedStatus* status);
ACL_API aclError aclrtQueryEventWaitStatus(aclrtEvent event, aclrtEventWaitStatus* status);
ACL_API aclError aclrtSynchronizeEvent(aclrtEvent event);
ACL_API aclError aclrtSynchronizeEventWithTimeout(aclrtEvent event, int32_t timeout);
ACL_API aclError aclrtEventElapsedTime(float* ms, aclrtEvent startEvent, aclrtEvent endEvent);
ACL_API aclError aclrtEventGetTimestamp(aclrtEvent event, uint64_t* timestamp);
ACL_API aclError aclrtGetEventId(aclrtEvent event, uint32_t* eventId);
ACL_API aclError aclrtGetEventAvailNum(uint32_t* eventCount);
ACL_API aclError aclrtIpcGetEventHandle(aclrtEvent event, aclrtIpcEventHandle* handle);
ACL_API aclError aclrtIpcOpenEventHandle(aclrtIpcEventHandle handle, aclrtEvent* event);

/* Notify: one task waits for what another recorded, on whatever stream, device or process */
ACL_API aclError aclrtCreateNotify(aclrtNotify* notify, uint64_t flag);
ACL_API aclError aclrtDestroyNotify(aclrtNotify notify);
ACL_API aclError aclrtRecordNotify(aclrtNotify notify, aclrtStream stream);
ACL_API aclError aclrtWaitAndResetNotify(aclrtNotify notify, aclrtStream stream, uint32_t timeout);
ACL_API aclError aclrtGetNotifyId(aclrtNotify notify, uint32_t* notifyId);
ACL_API aclError aclrtNotifyBatchReset(aclrtNotify* notifies, size_t num);
ACL_API aclError aclrtNotifyGetExportKey(aclrtNotify notify, char* key, size_t len, uint64_t flags);
ACL_API aclError aclrtNotifyImportByKey(aclrtNotify* notify, const char* key, uint64_t flags);
ACL_API aclError aclrtNotifySetImportPid(aclrtNotify notify, int32_t* pid, size_t num);

/* Kernels and launches */
ACL_API aclError aclrtBinaryLoadFromFile(const char* binPath, aclrtBinaryLoadOptions* options,
                                         aclrtBinHandle* binHandle);
ACL_API aclError aclrtBinaryLoadFromData(const void* data, size_t length, const aclrtBinaryLoadOptions* options,
                                         aclrtBinHandle* binHandle);
ACL_API aclError aclrtBinaryUnLoad(aclrtBinHandle binHandle);
ACL_API aclError aclrtBinaryGetFunction(const aclrtBinHandle binHandle, const char* kernelName,
                                        aclrtFuncHandle* funcHandle);
ACL_API aclError aclrtBinaryGetFunctionByEntry(aclrtBinHandle binHandle, uint64_t funcEntry,
                                               aclrtFuncHandle* funcHandle);
ACL_API aclError aclrtGetFunctionAddr(aclrtFuncHandle funcHandle, void** aicAddr, void** aivAddr);
ACL_API aclError aclrtGetFunctionName(aclrtFuncHandle funcHandle, uint32_t maxLen, char* name);
ACL_API aclError aclrtGetFunctionAttribute(aclrtFuncHandle funcHandle, aclrtFuncAttribute attrType, int64_t* attrValue);
ACL_API aclError aclrtGetHardwareSyncAddr(void** addr);
ACL_API aclError aclrtLaunchKernel(aclrtFuncHandle funcHandle, uint32_t numBlocks, const void* argsData,
                                   size_t argsSize, aclrtStream stream);
ACL_API aclError aclrtLaunchKernelV2(aclrtFuncHandle funcHandle, uint32_t numBlocks, const void* argsData,
                                     size_t argsSize, aclrtLaunchKernelCfg* cfg, aclrtStream stream);
ACL_API aclError aclrtLaunchKernelWithConfig(aclrtFuncHandle funcHandle, uint32_t numBlocks, aclrtStream stream,
                                             aclrtLaunchKernelCfg* cfg, aclrtArgsHandle argsHandle, void* reserve);
ACL_API aclError aclrtLaunchKernelWithHostArgs(aclrtFuncHandle funcHandle, uint32_t numBlocks, aclrtStream stream,
                                               aclrtLaunchKernelCfg* cfg, void* hostArgs, size_t argsSize,
                                               aclrtPlaceHolderInfo* placeHolderArray, size_t placeHolderNum);
ACL_API aclError aclrtLaunchKernelWithArgsArray(void* func, uint32_t numBlocks, aclrtStream stream,
                                                aclrtLaunchKernelCfg* cfg, void** args);

/* Host functions in a stream */
ACL_API aclError aclrtLaunchCallback(aclrtCallback fn, void* userData, aclrtCallbackBlockType blockType,
                                     aclrtStream stream);
ACL_API aclError aclrtLaunchHostFunc(aclrtStream stream, aclrtHostFunc fn, void* args);
ACL_API aclError aclrtSubscribeReport(uint64_t threadId, aclrtStream stream);
ACL_API aclError aclrtProcessReport(int32_t timeout);
ACL_API aclError aclrtUnSubscribeReport(uint64_t threadId, aclrtStream stream);
ACL_API aclError aclrtSubscribeHostFunc(uint64_t hostFuncThreadId, aclrtStream exeStream);
ACL_API aclError aclrtProcessHostFunc(int32_t timeout);
ACL_API aclError aclrtUnSubscribeHostFunc(uint64_t hostFuncThreadId, aclrtStream exeStream);

/* Graphs */
ACL_API aclError aclmdlRICaptureBegin(aclrtStream stream, aclmdlRICaptureMode mode);
ACL_API aclError aclmdlRICaptureGetInfo(aclrtStream stream, aclmdlRICaptureStatus* status, aclmdlRI* modelRI);
ACL_API aclError aclmdlRICaptureEnd(aclrtStream stream, aclmdlRI* modelRI);
ACL_API aclError aclmdlRICaptureThreadExchangeMode(aclmdlRICaptureMode* mode);
ACL_API aclError aclmdlRICaptureTaskGrpBegin(aclrtStream stream);
ACL_API aclError aclmdlRICaptureTaskGrpEnd(aclrtStream stream, aclrtTaskGrp* handle);
ACL_API aclError aclmdlRICaptureTaskUpdateBegin(aclrtStream stream, aclrtTaskGrp handle);
ACL_API aclError aclmdlRICaptureTaskUpdateEnd(aclrtStream stream);
ACL_API aclError aclmdlRICaptureToModelRIBegin(aclrtStream stream, aclmdlRI modelRI, aclmdlRICaptureMode mode);
ACL_API aclError aclmdlRIExecute(aclmdlRI modelRI, int32_t timeout);
ACL_API aclError aclmdlRIExecuteAsync(aclmdlRI modelRI, aclrtStream stream);
ACL_API aclError aclmdlRIDestroy(aclmdlRI modelRI);
ACL_API aclError aclmdlRIGetId(aclmdlRI modelRI, uint32_t* modelRIId);
ACL_API aclError aclmdlRIDebugPrint(aclmdlRI modelRI);
ACL_API aclError aclmdlRIDebugJsonPrint(aclmdlRI modelRI, const char* path, uint32_t flags);
ACL_API aclError aclmdlRICondHandleCreate(aclmdlRI modelRI, uint32_t defaultLaunchValue, aclmdlRICondHandleFlag flag,
                                          aclmdlRICondHandle* handle);
ACL_API aclError aclmdlRICondHandleGetCondPtr(aclmdlRICondHandle handle, uint64_t** ptr);
ACL_API aclError aclmdlRIAddCondTask(aclmdlRICondTaskParams params, aclrtStream stream, uint32_t flags);
ACL_API aclError aclmdlRIAbort(aclmdlRI modelRI);

/* Errors and repair */
ACL_API aclError aclrtPeekAtLastError(aclrtLastErrLevel level);
ACL_API aclError aclrtGetLastError(aclrtLastErrLevel level);
ACL_API aclError aclrtGetErrorVerbose(int32_t deviceId, aclrtErrorInfo* errorInfo);
ACL_API aclError aclrtRepairError(int32_t deviceId, const aclrtErrorInfo* errorInfo);
ACL_API aclError aclrtGetMemUceInfo(int32_t deviceId, aclrtMemUceInfo* memUceInfoArray, size_t arraySize,
                                    size_t* retSize);
ACL_API aclError aclrtMemUceRepair(int32_t deviceId, aclrtMemUceInfo* memUceInfoArray, size_t arraySize);
ACL_API aclError aclrtSetExceptionInfoCallback(aclrtExceptionInfoCallback callback);
ACL_API uint32_t aclrtGetTaskIdFromExceptionInfo(const aclrtExceptionInfo* info);
ACL_API uint32_t aclrtGetStreamIdFromExceptionInfo(const aclrtExceptionInfo* info);
ACL_API uint32_t aclrtGetThreadIdFromExceptionInfo(const aclrtExceptionInfo* info);
ACL_API uint32_t aclrtGetDeviceIdFromExceptionInfo(const aclrtExceptionInfo* info);
ACL_API uint32_t aclrtGetErrorCodeFromExceptionInfo(const aclrtExceptionInfo* info);
ACL_API aclError aclrtSetDeviceTaskAbortCallback(const char* regName, aclrtDeviceTaskAbortCallback callback,
                                                 void* args);

#ifdef __cplusplus
}
#endif

#endif /* FLEXNPU_ABI_ACL_RT_H */
