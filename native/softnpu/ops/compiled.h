// SPDX-License-Identifier: Apache-2.0
//
// Operators that a program runs by name, with descriptions of its tensors and named attributes (aclop). CANN's graph
// compiler makes them; here they are a table of their own, and a call becomes a plan like every other:
//
//     COMPILED(Mish) { out(0).copy_(at::mish(wide(in(0)))); }
//
// A body sees the inputs in(i), the outputs out(i) and the attributes; an input that was not given is undefined.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "ops/named_call.h"
#include "ops/op.h"

namespace softnpu {

// What a compiled operator's plan keeps beside its tensors.
struct CompiledExtras {
    std::map<std::string, AttributeValue> attributes;
    size_t inputs = 0;
    std::vector<std::unique_ptr<char[]>> constants;  // inputs that were in host memory
};

class CompiledCall {
  public:
    explicit CompiledCall(const aclOpExecutor& executor);
    const at::Tensor& in(size_t i) const;  // undefined when not given
    const std::vector<at::Tensor>& inputs() const { return inputs_; }
    at::Tensor& out(size_t i) { return outputs_.at(i); }
    std::vector<int64_t> list_in(size_t i) const;

    int64_t integer(const char* name, int64_t otherwise = 0) const { return get<int64_t>(name, otherwise); }
    double real(const char* name, double otherwise = 0) const { return get<double>(name, otherwise); }
    bool flag(const char* name, bool otherwise = false) const { return get<bool>(name, otherwise); }
    std::string text(const char* name) const { return get<std::string>(name, {}); }
    std::vector<int64_t> integers(const char* name) const { return get<std::vector<int64_t>>(name, {}); }
    std::vector<double> reals(const char* name) const { return get<std::vector<double>>(name, {}); }

  private:
    template <typename T>
    T get(const char* name, T otherwise) const {
        const auto found = extras_.attributes.find(name);
        const T* value = found == extras_.attributes.end() ? nullptr : std::get_if<T>(&found->second);
        return value != nullptr ? *value : otherwise;
    }

    const CompiledExtras& extras_;
    std::vector<at::Tensor> inputs_, outputs_;
};

// Puts itself into the table.
struct CompiledOperator {
    CompiledOperator(const char* type, const Operator& op);
};

}  // namespace softnpu

#define COMPILED(type) COMPILED_COST(type, softnpu::vector_cost)
#define COMPILED_COST(type, cost_function)                                                                         \
    struct type##Call : softnpu::CompiledCall {                                                                    \
        using CompiledCall::CompiledCall;                                                                          \
        void run();                                                                                                \
    };                                                                                                             \
    static void type##_run(const aclOpExecutor& executor) { type##Call(executor).run(); }                          \
    static constexpr softnpu::Operator type##_operator = softnpu::make_operator(#type, type##_run, cost_function); \
    static const softnpu::CompiledOperator type##_entry(#type, type##_operator);                                   \
    void type##Call::run()
