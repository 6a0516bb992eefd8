/* SPDX-License-Identifier: Apache-2.0
 *
 * Profiling: what torch_npu's profiler calls.
 */
#ifndef FLEXNPU_ABI_ACL_PROF_H
#define FLEXNPU_ABI_ACL_PROF_H

#include "flexnpu_abi/acl_types.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    ACL_AICORE_ARITHMETIC_UTILIZATION = 0,
    ACL_AICORE_PIPE_UTILIZATION = 1,
    ACL_AICORE_MEMORY_BANDWIDTH = 2,
    ACL_AICORE_L0B_AND_WIDTH = 3,
    ACL_AICORE_RESOURCE_CONFLICT_RATIO = 4,
    ACL_AICORE_MEMORY_UB = 5,
    ACL_AICORE_L2_CACHE = 6,
    ACL_AICORE_PIPE_EXECUTE_UTILIZATION = 7,
    ACL_AICORE_MEMORY_ACCESS = 8,
    ACL_AICORE_NONE = 0xFF
} aclprofAicoreMetrics;
typedef enum { ACL_STEP_START = 0, ACL_STEP_END = 1 } aclprofStepTag;
typedef enum { ACL_PROF_ARGS_MIN = 0, ACL_PROF_ARGS_MAX = 17 } aclprofConfigType;
typedef struct aclprofConfig aclprofConfig;
typedef struct aclprofAicoreEvents aclprofAicoreEvents;
typedef struct aclprofStepInfo aclprofStepInfo;

ACL_API aclError aclprofInit(const char* profilerResultPath, size_t length);
ACL_API aclError aclprofFinalize(void);
ACL_API aclprofConfig* aclprofCreateConfig(uint32_t* deviceIdList, uint32_t deviceNums,
                                           aclprofAicoreMetrics aicoreMetrics, const aclprofAicoreEvents* aicoreEvents,
                                           uint64_t dataTypeConfig);
ACL_API aclError aclprofDestroyConfig(const aclprofConfig* profilerConfig);
ACL_API aclError aclprofSetConfig(aclprofConfigType configType, const char* config, size_t configLength);
ACL_API aclError aclprofStart(const aclprofConfig* profilerConfig);
ACL_API aclError aclprofStop(const aclprofConfig* profilerConfig);
ACL_API aclprofStepInfo* aclprofCreateStepInfo(void);
ACL_API void aclprofDestroyStepInfo(aclprofStepInfo* stepinfo);
ACL_API aclError aclprofGetStepTimestamp(aclprofStepInfo* stepInfo, aclprofStepTag tag, aclrtStream stream);
ACL_API aclError aclprofMarkEx(const char* msg, size_t msgLen, aclrtStream stream);

#ifdef __cplusplus
}
#endif

#endif
