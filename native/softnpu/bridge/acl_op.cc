// SPDX-License-Identifier: Apache-2.0
//
// libacl_op_compiler.so: operators that a program runs by name. The table of them is in libopapi.so, which is loaded at
// the first such call: torch_npu links this library, and it must load beside a torch that libopapi.so was not built
// for, so that aclInit can say so.
#include <dlfcn.h>
#include <flexnpu_abi/acl_op.h>

#include <cstring>

#include "ops/named_call.h"
#include "runtime/status.h"

namespace {

template <typename T, typename U = T>
aclError set_list(aclopAttr* attr, const char* name, int count, const T* values) {
    attr->values[name] = std::vector<U>(values, values + count);
    return ACL_SUCCESS;
}

// libopapi.so's softnpu_run_compiled; null, with the reason as the message, when it cannot be loaded.
decltype(&softnpu_run_compiled) run_compiled() {
    static void* const library = dlopen("libopapi.so", RTLD_NOW);
    if (library == nullptr) {
        softnpu::fail(ACL_ERROR_INTERNAL_ERROR, "operators by name need libopapi.so: %s", dlerror());
        return nullptr;
    }
    static const auto run = reinterpret_cast<decltype(&softnpu_run_compiled)>(dlsym(library, "softnpu_run_compiled"));
    return run;
}

}  // namespace

extern "C" {

aclTensorDesc* aclCreateTensorDesc(aclDataType dtype, int count, const int64_t* sizes, aclFormat format) {
    auto* made = new aclTensorDesc();
    made->dtype = dtype;
    made->format = format;
    if (count > 0) {
        made->sizes.assign(sizes, sizes + count);
    }
    return made;
}
void aclDestroyTensorDesc(const aclTensorDesc* desc) { delete desc; }
aclDataType aclGetTensorDescType(const aclTensorDesc* desc) { return desc->dtype; }
aclFormat aclGetTensorDescFormat(const aclTensorDesc* desc) { return desc->format; }
size_t aclGetTensorDescNumDims(const aclTensorDesc* desc) { return desc->sizes.size(); }
aclError aclGetTensorDescDimV2(const aclTensorDesc* desc, size_t index, int64_t* size) {
    if (index >= desc->sizes.size()) {
        return softnpu::fail(ACL_ERROR_RT_PARAM_INVALID, "aclGetTensorDescDimV2: dimension %zu of %zu", index,
                             desc->sizes.size());
    }
    *size = desc->sizes[index];
    return ACL_SUCCESS;
}
void aclSetTensorDescName(aclTensorDesc*, const char*) {}
// The storage's format and shape: elements lie in their logical order here (ops/compiled.h).
aclError aclSetTensorFormat(aclTensorDesc*, aclFormat) { return ACL_SUCCESS; }
aclError aclSetTensorShape(aclTensorDesc*, int, const int64_t*) { return ACL_SUCCESS; }
aclError aclSetTensorPlaceMent(aclTensorDesc* desc, aclMemType place) {
    desc->on_host = place != ACL_MEMTYPE_DEVICE;
    return ACL_SUCCESS;
}

aclDataBuffer* aclCreateDataBuffer(void* data, size_t size) { return new aclDataBuffer{data, size}; }
aclError aclDestroyDataBuffer(const aclDataBuffer* buffer) {
    delete buffer;
    return ACL_SUCCESS;
}

aclopAttr* aclopCreateAttr() { return new aclopAttr(); }
void aclopDestroyAttr(const aclopAttr* attr) { delete attr; }
aclError aclopSetAttrBool(aclopAttr* attr, const char* name, uint8_t value) {
    attr->values[name] = value != 0;
    return ACL_SUCCESS;
}
aclError aclopSetAttrInt(aclopAttr* attr, const char* name, int64_t value) {
    attr->values[name] = value;
    return ACL_SUCCESS;
}
aclError aclopSetAttrFloat(aclopAttr* attr, const char* name, float value) {
    attr->values[name] = static_cast<double>(value);
    return ACL_SUCCESS;
}
aclError aclopSetAttrString(aclopAttr* attr, const char* name, const char* value) {
    attr->values[name] = std::string(value);
    return ACL_SUCCESS;
}
aclError aclopSetAttrDataType(aclopAttr* attr, const char* name, aclDataType value) {
    attr->values[name] = static_cast<int64_t>(value);
    return ACL_SUCCESS;
}
aclError aclopSetAttrListBool(aclopAttr* attr, const char* name, int count, const uint8_t* values) {
    return set_list(attr, name, count, values);
}
aclError aclopSetAttrListInt(aclopAttr* attr, const char* name, int count, const int64_t* values) {
    return set_list(attr, name, count, values);
}
aclError aclopSetAttrListFloat(aclopAttr* attr, const char* name, int count, const float* values) {
    return set_list<float, double>(attr, name, count, values);
}
aclError aclopSetAttrListListInt(aclopAttr* attr, const char* name, int count, const int* counts,
                                 const int64_t* const values[]) {
    std::vector<std::vector<int64_t>> lists;
    for (int i = 0; i < count; ++i) {
        lists.emplace_back(values[i], values[i] + counts[i]);
    }
    attr->values[name] = std::move(lists);
    return ACL_SUCCESS;
}

aclError aclopCompileAndExecute(const char* type, int inputs, const aclTensorDesc* const input_descs[],
                                const aclDataBuffer* const input_data[], int outputs,
                                const aclTensorDesc* const output_descs[], aclDataBuffer* const output_data[],
                                const aclopAttr* attr, aclopEngineType, aclopCompileType, const char*,
                                aclrtStream stream) {
    const auto run = run_compiled();
    return run == nullptr
               ? ACL_ERROR_INTERNAL_ERROR
               : run(type, inputs, input_descs, input_data, outputs, output_descs, output_data, attr, stream);
}
// The outputs' sizes are known before the run: none of the operators in the table decides them.
aclError aclopCompileAndExecuteV2(const char* type, int inputs, aclTensorDesc* input_descs[],
                                  aclDataBuffer* input_data[], int outputs, aclTensorDesc* output_descs[],
                                  aclDataBuffer* output_data[], aclopAttr* attr, aclopEngineType engine,
                                  aclopCompileType flag, const char* path, aclrtStream stream) {
    return aclopCompileAndExecute(type, inputs, input_descs, input_data, outputs, output_descs, output_data, attr,
                                  engine, flag, path, stream);
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
