// SPDX-License-Identifier: Apache-2.0
//
// How a call of an operator by name goes from libacl_op_compiler.so, which knows no torch, to the table in libopapi.so.
#pragma once

#include <flexnpu_abi/acl_op.h>

#include <map>
#include <string>
#include <variant>
#include <vector>

using AttributeValue = std::variant<bool, int64_t, double, std::string, std::vector<int64_t>, std::vector<double>,
                                    std::vector<uint8_t>, std::vector<std::vector<int64_t>>>;

struct aclopAttr {
    std::map<std::string, AttributeValue> values;
};

// Elements lie in their logical order whatever the format, so the sizes are those that the description was made with.
struct aclTensorDesc {
    aclDataType dtype = ACL_DT_UNDEFINED;
    aclFormat format = ACL_FORMAT_UNDEFINED;
    std::vector<int64_t> sizes;
    bool on_host = false;
};

struct aclDataBuffer {
    void* data;
    size_t bytes;
};

// Runs the operator `type` on the stream. ACL_ERROR_RT_FEATURE_NOT_SUPPORT, with its name in the message, for a type
// that is not in the table.
extern "C" __attribute__((visibility("default"))) aclError
softnpu_run_compiled(const char* type, int inputs, const aclTensorDesc* const input_descs[],
                     const aclDataBuffer* const input_data[], int outputs, const aclTensorDesc* const output_descs[],
                     aclDataBuffer* const output_data[], const aclopAttr* attributes, aclrtStream stream);
