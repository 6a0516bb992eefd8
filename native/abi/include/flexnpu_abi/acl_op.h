/* SPDX-License-Identifier: Apache-2.0
 *
 * The older operator interface (compile and run by name) and what surrounds it.
 */
#ifndef FLEXNPU_ABI_ACL_OP_H
#define FLEXNPU_ABI_ACL_OP_H

#include "flexnpu_abi/acl_types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aclDataBuffer aclDataBuffer;
typedef struct aclTensorDesc aclTensorDesc;
typedef struct aclopHandle aclopHandle;
typedef struct aclopAttr aclopAttr;
typedef enum aclEngineType { ACL_ENGINE_SYS, ACL_ENGINE_AICORE, ACL_ENGINE_VECTOR } aclopEngineType;
typedef struct aclmdlDataset aclmdlDataset;
typedef struct aclmdlExecConfigHandle aclmdlExecConfigHandle;
typedef enum aclCompileType { ACL_COMPILE_SYS, ACL_COMPILE_UNREGISTERED } aclopCompileType;
typedef enum {
    ACL_PRECISION_MODE,
    ACL_AICORE_NUM,
    ACL_AUTO_TUNE_MODE,
    ACL_OP_SELECT_IMPL_MODE,
    ACL_OPTYPELIST_FOR_IMPLMODE,
    ACL_OP_DEBUG_LEVEL,
    ACL_DEBUG_DIR,
    ACL_OP_COMPILER_CACHE_MODE,
    ACL_OP_COMPILER_CACHE_DIR,
    ACL_OP_PERFORMANCE_MODE,
    ACL_OP_JIT_COMPILE,
    ACL_OP_DETERMINISTIC,
    ACL_CUSTOMIZE_DTYPES,
    ACL_OP_PRECISION_MODE,
    ACL_ALLOW_HF32,
    ACL_PRECISION_MODE_V2,
    ACL_OP_DEBUG_OPTION
} aclCompileOpt;
typedef enum aclCompileFlag { ACL_OP_COMPILE_DEFAULT, ACL_OP_COMPILE_FUZZ } aclOpCompileFlag;
typedef struct aclGraphDumpOption aclGraphDumpOption;

/* Tensor descriptions and buffers */
ACL_API size_t aclDataTypeSize(aclDataType dataType);
ACL_API aclDataBuffer* aclCreateDataBuffer(void* data, size_t size);
ACL_API aclError aclDestroyDataBuffer(const aclDataBuffer* dataBuffer);
ACL_API void* aclGetDataBufferAddr(const aclDataBuffer* dataBuffer);
ACL_API size_t aclGetDataBufferSizeV2(const aclDataBuffer* dataBuffer);
ACL_API aclTensorDesc* aclCreateTensorDesc(aclDataType dataType, int numDims, const int64_t* dims, aclFormat format);
ACL_API void aclDestroyTensorDesc(const aclTensorDesc* desc);
ACL_API aclDataType aclGetTensorDescType(const aclTensorDesc* desc);
ACL_API aclFormat aclGetTensorDescFormat(const aclTensorDesc* desc);
ACL_API size_t aclGetTensorDescNumDims(const aclTensorDesc* desc);
ACL_API aclError aclGetTensorDescDimV2(const aclTensorDesc* desc, size_t index, int64_t* dimSize);
ACL_API void aclSetTensorDescName(aclTensorDesc* desc, const char* name);
ACL_API aclError aclSetTensorFormat(aclTensorDesc* desc, aclFormat format);
ACL_API aclError aclSetTensorShape(aclTensorDesc* desc, int numDims, const int64_t* dims);
ACL_API aclError aclSetTensorPlaceMent(aclTensorDesc* desc, aclMemType memType);

/* Attributes */
ACL_API aclopAttr* aclopCreateAttr(void);
ACL_API void aclopDestroyAttr(const aclopAttr* attr);
ACL_API aclError aclopSetAttrBool(aclopAttr* attr, const char* attrName, uint8_t attrValue);
ACL_API aclError aclopSetAttrInt(aclopAttr* attr, const char* attrName, int64_t attrValue);
ACL_API aclError aclopSetAttrFloat(aclopAttr* attr, const char* attrName, float attrValue);
ACL_API aclError aclopSetAttrString(aclopAttr* attr, const char* attrName, const char* attrValue);
ACL_API aclError aclopSetAttrDataType(aclopAttr* attr, const char* attrName, aclDataType attrValue);
ACL_API aclError aclopSetAttrListBool(aclopAttr* attr, const char* attrName, int numValues, const uint8_t* values);
ACL_API aclError aclopSetAttrListInt(aclopAttr* attr, const char* attrName, int numValues, const int64_t* values);
ACL_API aclError aclopSetAttrListFloat(aclopAttr* attr, const char* attrName, int numValues, const float* values);
ACL_API aclError aclopSetAttrListListInt(aclopAttr* attr, const char* attrName, int numLists, const int* numValues,
                                         const int64_t* const values[]);

/* Compile and run */
ACL_API aclError aclSetCompileopt(aclCompileOpt opt, const char* value);
ACL_API size_t aclGetCompileoptSize(aclCompileOpt opt);
ACL_API aclError aclGetCompileopt(aclCompileOpt opt, char* value, size_t length);
ACL_API aclError aclopSetCompileFlag(aclOpCompileFlag flag);
ACL_API aclError aclopCompile(const char* opType, int numInputs, const aclTensorDesc* const inputDesc[], int numOutputs,
                              const aclTensorDesc* const outputDesc[], const aclopAttr* attr,
                              aclopEngineType engineType, aclopCompileType compileFlag, const char* opPath);
ACL_API aclError aclopCompileAndExecute(const char* opType, int numInputs, const aclTensorDesc* const inputDesc[],
                                        const aclDataBuffer* const inputs[], int numOutputs,
                                        const aclTensorDesc* const outputDesc[], aclDataBuffer* const outputs[],
                                        const aclopAttr* attr, aclopEngineType engineType, aclopCompileType compileFlag,
                                        const char* opPath, aclrtStream stream);
ACL_API aclError aclopCompileAndExecuteV2(const char* opType, int numInputs, aclTensorDesc* inputDesc[],
                                          aclDataBuffer* inputs[], int numOutputs, aclTensorDesc* outputDesc[],
                                          aclDataBuffer* outputs[], aclopAttr* attr, aclopEngineType engineType,
                                          aclopCompileType compileFlag, const char* opPath, aclrtStream stream);
ACL_API aclError aclopExecute(const char* opType, int numInputs, const aclTensorDesc* const inputDesc[],
                              const aclDataBuffer* const inputs[], int numOutputs,
                              const aclTensorDesc* const outputDesc[], aclDataBuffer* const outputs[],
                              const aclopAttr* attr, aclrtStream stream);
ACL_API aclError aclopExecuteV2(const char* opType, int numInputs, aclTensorDesc* inputDesc[], aclDataBuffer* inputs[],
                                int numOutputs, aclTensorDesc* outputDesc[], aclDataBuffer* outputs[], aclopAttr* attr,
                                aclrtStream stream);
ACL_API aclError aclopExecWithHandle(aclopHandle* handle, int numInputs, const aclDataBuffer* const inputs[],
                                     int numOutputs, aclDataBuffer* const outputs[], aclrtStream stream);
ACL_API aclError aclGenGraphAndDumpForOp(const char* opType, int numInputs, const aclTensorDesc* const inputDesc[],
                                         const aclDataBuffer* const inputs[], int numOutputs,
                                         const aclTensorDesc* const outputDesc[], aclDataBuffer* const outputs[],
                                         const aclopAttr* attr, aclopEngineType engineType, const char* graphDumpPath,
                                         const aclGraphDumpOption* graphDumpOpt);
ACL_API aclGraphDumpOption* aclCreateGraphDumpOpt(void);
ACL_API aclError aclDestroyGraphDumpOpt(const aclGraphDumpOption* graphDumpOpt);

/* Offline models */
ACL_API aclError aclmdlExecute(uint32_t modelId, const aclmdlDataset* input, aclmdlDataset* output);
ACL_API aclError aclmdlExecuteV2(uint32_t modelId, const aclmdlDataset* input, aclmdlDataset* output,
                                 aclrtStream stream, const aclmdlExecConfigHandle* handle);
ACL_API aclError aclmdlExecuteAsync(uint32_t modelId, const aclmdlDataset* input, aclmdlDataset* output,
                                    aclrtStream stream);
ACL_API aclError aclmdlExecuteAsyncV2(uint32_t modelId, const aclmdlDataset* input, aclmdlDataset* output,
                                      aclrtStream stream, const aclmdlExecConfigHandle* handle);

/* Dump */
ACL_API aclError aclmdlInitDump(void);
ACL_API aclError aclmdlSetDump(const char* dumpCfgPath);
ACL_API aclError aclmdlFinalizeDump(void);
ACL_API aclError aclopStartDumpArgs(uint32_t dumpType, const char* path);
ACL_API aclError aclopStopDumpArgs(uint32_t dumpType);

#ifdef __cplusplus
}
#endif

#endif /* FLEXNPU_ABI_ACL_OP_H */
