// SPDX-License-Identifier: Apache-2.0
#include "ops/compiled.h"

#include <algorithm>
#include <cstring>

#include "runtime/status.h"

namespace softnpu {
namespace {

std::map<std::string, const Operator*>& table() {
    static auto* operators = new std::map<std::string, const Operator*>();
    return *operators;
}

aclTensor describe(const aclTensorDesc& description, void* data) {
    aclTensor tensor;
    tensor.data = data;
    tensor.on_host = description.on_host;
    tensor.dtype = description.dtype;
    tensor.format = description.format;
    tensor.dims = static_cast<uint32_t>(std::min<size_t>(description.sizes.size(), kMaxDims));
    int64_t stride = 1;
    for (uint32_t d = tensor.dims; d-- > 0;) {
        tensor.sizes[d] = description.sizes[d];
        tensor.strides[d] = stride;
        stride *= description.sizes[d];
    }
    return tensor;
}

}  // namespace

CompiledOperator::CompiledOperator(const char* type, const Operator& op) { table().emplace(type, &op); }

CompiledCall::CompiledCall(const aclOpExecutor& executor) : extras_(*executor.plan->extras) {
    Arguments arguments(executor);
    for (size_t i = 0; i < executor.plan->arguments.size(); ++i) {
        (i < extras_.inputs ? inputs_ : outputs_).push_back(arguments.tensor());
    }
}

const at::Tensor& CompiledCall::in(size_t i) const {
    static const at::Tensor none;
    return i < inputs_.size() ? inputs_[i] : none;
}

std::vector<int64_t> CompiledCall::list_in(size_t i) const {
    const at::Tensor values = in(i).to(at::kLong).contiguous();
    return {values.data_ptr<int64_t>(), values.data_ptr<int64_t>() + values.numel()};
}

}  // namespace softnpu

aclError softnpu_run_compiled(const char* type, int inputs, const aclTensorDesc* const input_descs[],
                              const aclDataBuffer* const input_data[], int outputs,
                              const aclTensorDesc* const output_descs[], aclDataBuffer* const output_data[],
                              const aclopAttr* attributes, aclrtStream stream) {
    using namespace softnpu;
    const auto found = table().find(type);
    if (found == table().end()) {
        return fail(ACL_ERROR_RT_FEATURE_NOT_SUPPORT,
                    "operator %s of the graph compiler is not bound in the software NPU", type);
    }
    auto extras = std::make_shared<CompiledExtras>();
    extras->inputs = static_cast<size_t>(inputs);
    if (attributes != nullptr) {
        extras->attributes = attributes->values;
    }
    PlanBuilder builder(*found->second);
    for (int i = 0; i < inputs; ++i) {
        if (input_descs[i]->dtype == ACL_DT_UNDEFINED) {  // a tensor of no elements has no address, yet it is given
            builder.tensor(nullptr);
            continue;
        }
        void* data = input_data[i]->data;
        if (input_descs[i]->on_host) {  // the program may reuse it before the stream comes to the operator
            extras->constants.push_back(std::make_unique<char[]>(input_data[i]->bytes));
            std::memcpy(extras->constants.back().get(), data, input_data[i]->bytes);
            data = extras->constants.back().get();
        }
        const aclTensor tensor = describe(*input_descs[i], data);
        builder.tensor(&tensor);
    }
    for (int i = 0; i < outputs; ++i) {
        const aclTensor tensor = describe(*output_descs[i], output_data[i]->data);
        builder.result(&tensor);
    }
    builder.extras(std::move(extras));
    uint64_t workspace = 0;
    aclOpExecutor* executor = nullptr;
    const aclError error = builder.finish(&workspace, &executor);
    return error == ACL_SUCCESS ? launch(*found->second, executor, stream) : error;
}
