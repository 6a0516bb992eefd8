// SPDX-License-Identifier: Apache-2.0
//
// Binds native/planner.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "planner/queue.h"
#include "python/bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace flexnpu {
namespace {

void set_up(Queue* self, nb::handle fresh, nb::handle cached, nb::handle copies, nb::handle waits, double target,
            std::pair<double, double> cost) {
    const Column one(fresh), two(cached), three(copies), four(waits);
    check_lengths({&one, &two, &three, &four});
    Prompts prompts;
    prompts.reserve(one.size());
    for (std::size_t i = 0; i < one.size(); ++i) {
        const double work = one[i] * (cost.first + cost.second * (two[i] + 0.5 * one[i]));
        const Prompt each{one[i], two[i], work, target - four[i], static_cast<uint32_t>(i)};
        for (double copy = 0.0; copy < three[i]; ++copy) prompts.push_back(each);
    }
    new (self) Queue(std::move(prompts));
}

std::optional<std::pair<std::size_t, double>> reach_of(nb::handle fresh, nb::handle copies, double tokens) {
    const Column one(fresh), many(copies);
    check_lengths({&one, &many});
    for (std::size_t i = 0; i < many.size(); ++i) {
        if (many[i] > 1.0) return std::nullopt;
    }
    const auto [count, part] = reach(one, tokens);
    return std::pair(count, part);
}

nb::tuple places(const Places& found) {
    PyObject* tuple = PyTuple_New(static_cast<Py_ssize_t>(found.size()));
    for (std::size_t i = 0; i < found.size(); ++i) {
        PyTuple_SET_ITEM(tuple, static_cast<Py_ssize_t>(i), PyLong_FromUnsignedLong(found[i]));
    }
    return nb::steal<nb::tuple>(tuple);
}

}  // namespace

void bind_planner(nb::module_& m) {
    m.def("reach", &reach_of, "new"_a, "copies"_a, "tokens"_a);
    nb::class_<Line>(m, "Line").def(
        "take",
        [](Line& line, double tokens) {
            const auto [load, took] = line.take(tokens);
            return nb::make_tuple(to_python(load), static_cast<int64_t>(took));
        },
        "tokens"_a);
    nb::class_<Queue>(m, "Queue")
        .def("__init__", &set_up, "new"_a, "cached"_a, "copies"_a, "waits"_a, "target"_a, "cost"_a)
        .def("work", &Queue::work)
        .def("on_time", &Queue::on_time, "pace"_a, "guard"_a)
        .def("line", [](const Queue& queue) { return queue.line(); })
        .def(
            "order",
            [](const Queue& queue, double pace, double guard, std::size_t look) {
                const Order order = queue.order(pace, guard, look);
                const Places entries = queue.entries(order);
                return nb::make_tuple(places(entries), order.late.size(), queue.line(entries));
            },
            "pace"_a, "guard"_a, "look"_a);
}

}  // namespace flexnpu
