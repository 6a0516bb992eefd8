// SPDX-License-Identifier: Apache-2.0
//
// libacl_op_compiler.so: operators of the graph compiler (aclop), which the software NPU does not have. Their
// descriptors are accepted, so that the call that would run the operator can name it.
#include <flexnpu_abi/acl_op.h>

#include <cstring>

#include "runtime/status.h"

struct aclTensorDesc {};
struct aclDataBuffer {};
struct aclopAttr {};

namespace {

aclTensorDesc any_desc;
aclDataBuffer any_buffer;
aclopAttr any_attribute;

aclError unbound(const char* type) {
    return softnpu::fail(ACL_ERROR_RT_FEATURE_NOT_SUPPORT,
                         "operator %s of the graph compiler is not bound in the software NPU", type);
}

}  // namespace

extern "C" {

aclTensorDesc* aclCreateTensorDesc(aclDataType, int, const int64_t*, aclFormat) { return &any_desc; }
void aclDestroyTensorDesc(const aclTensorDesc*) {}
aclDataType aclGetTensorDescType(const aclTensorDesc*) { return ACL_DT_UNDEFINED; }
aclFormat aclGetTensorDescFormat(const aclTensorDesc*) { return ACL_FORMAT_UNDEFINED; }
size_t aclGetTensorDescNumDims(const aclTensorDesc*) { return 0; }
aclError aclGetTensorDescDimV2(const aclTensorDesc*, size_t, int64_t*) { return unbound("(a tensor description)"); }
void aclSetTensorDescName(aclTensorDesc*, const char*) {}
aclError aclSetTensorFormat(aclTensorDesc*, aclFormat) { return ACL_SUCCESS; }
aclError aclSetTensorShape(aclTensorDesc*, int, const int64_t*) { return ACL_SUCCESS; }
aclError aclSetTensorPlaceMent(aclTensorDesc*, aclMemType) { return ACL_SUCCESS; }

aclDataBuffer* aclCreateDataBuffer(void*, size_t) { return &any_buffer; }
aclError aclDestroyDataBuffer(const aclDataBuffer*) { return ACL_SUCCESS; }

aclopAttr* aclopCreateAttr() { return &any_attribute; }
void aclopDestroyAttr(const aclopAttr*) {}
aclError aclopSetAttrBool(aclopAttr*, const char*, uint8_t) { return ACL_SUCCESS; }
aclError aclopSetAttrInt(aclopAttr*, const char*, int64_t) { return ACL_SUCCESS; }
aclError aclopSetAttrFloat(aclopAttr*, const char*, float) { return ACL_SUCCESS; }
aclError aclopSetAttrString(aclopAttr*, const char*, const char*) { return ACL_SUCCESS; }
aclError aclopSetAttrDataType(aclopAttr*, const char*, aclDataType) { return ACL_SUCCESS; }
aclError aclopSetAttrListBool(aclopAttr*, const char*, int, const uint8_t*) { return ACL_SUCCESS; }
aclError aclopSetAttrListInt(aclopAttr*, const char*, int, const int64_t*) { return ACL_SUCCESS; }
aclError aclopSetAttrListFloat(aclopAttr*, const char*, int, const float*) { return ACL_SUCCESS; }
aclError aclopSetAttrListListInt(aclopAttr*, const char*, int, const int*, const int64_t* const[]) {
    return ACL_SUCCESS;
}

aclError aclopCompileAndExecute(const char* opType, int, const aclTensorDesc* const[], const aclDataBuffer* const[],
                                int, const aclTensorDesc* const[], aclDataBuffer* const[], const aclopAttr*,
                                aclopEngineType, aclopCompileType, const char*, aclrtStream) {
    return unbound(opType);
}
aclError aclopCompileAndExecuteV2(const char* opType, int, aclTensorDesc*[], aclDataBuffer*[], int, aclTensorDesc*[],
                                  aclDataBuffer*[], aclopAttr*, aclopEngineType, aclopCompileType, const char*,
                                  aclrtStream) {
    return unbound(opType);
}

// The compiler of single operators is off: every operator is an aclnn call. torch_npu asks for this option at start.
aclError aclGetCompileopt(aclCompileOpt opt, char* value, size_t length) {
    constexpr char answer[] = "disable";
    if (opt != ACL_OP_JIT_COMPILE || value == nullptr || length < sizeof answer) {
        return softnpu::fail(ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "aclGetCompileopt: option %d is not set",
                             static_cast<int>(opt));
    }
    std::memcpy(value, answer, sizeof answer);
    return ACL_SUCCESS;
}

size_t aclGetCompileoptSize(aclCompileOpt /*opt*/) { return sizeof "disable"; }

// There is no compiler that an option could change.
aclError aclSetCompileopt(aclCompileOpt /*opt*/, const char* /*value*/) { return ACL_SUCCESS; }

}  // extern "C"
