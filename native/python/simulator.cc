// SPDX-License-Identifier: Apache-2.0
//
// Binds native/simulator. A device asks Python for plans, and for forecasts where those are Python's.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "forecast/iteration.h"
#include "python/bindings.h"
#include "simulator/device.h"
#include "simulator/view.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace flexnpu::simulator {
namespace {

class IterationTimes final : public Times {
  public:
    explicit IterationTimes(std::shared_ptr<Iteration> iteration) : iteration_(std::move(iteration)) {}
    double seconds(uint32_t cores, const Load& load) override { return iteration_->seconds(cores, load); }
    std::pair<double, double> beside(uint32_t prefill_cores, const Load& prefill, uint32_t decode_cores,
                                     const Load& decode) override {
        return iteration_->beside(prefill_cores, prefill, decode_cores, decode);
    }
    void steps(uint32_t cores, const Load& load, std::span<double> seconds) override {
        iteration_->steps(cores, load, seconds);
    }

  private:
    std::shared_ptr<Iteration> iteration_;
};

std::string shown(nb::handle object) { return nb::cast<std::string>(nb::repr(object)); }

// Seconds that a forecast in Python answered. Without an end, or none at all, they would stop the clock or turn it
// back.
double seconds_of(nb::handle answer, const char* method) {
    double seconds = 0.0;
    if (!nb::try_cast(answer, seconds)) {
        throw nb::type_error(("the forecast's " + std::string(method) + " answered " + shown(answer) +
                              "; it must be a number of seconds")
                                 .c_str());
    }
    if (!(seconds > 0.0 && std::isfinite(seconds))) {
        throw nb::value_error(
            ("the forecast's " + std::string(method) + " answered " + shown(answer) + "; seconds are over 0 and finite")
                .c_str());
    }
    return seconds;
}

// flexnpu.simulator.forecast.EngineForecaster.
class PythonTimes final : public Times {
  public:
    // A device holds on to it.
    explicit PythonTimes(nb::handle forecaster) : forecaster_(forecaster) {}
    double seconds(uint32_t cores, const Load& load) override {
        return seconds_of(forecaster_.attr("seconds")(cores, to_python(load)), "seconds");
    }
    std::pair<double, double> beside(uint32_t prefill_cores, const Load& prefill, uint32_t decode_cores,
                                     const Load& decode) override {
        const nb::object found =
            forecaster_.attr("beside")(prefill_cores, to_python(prefill), decode_cores, to_python(decode));
        std::pair<nb::object, nb::object> both;
        if (!nb::try_cast(found, both)) {
            throw nb::type_error(
                ("the forecast's beside answered " + shown(found) + "; it must be seconds of prefill and of decode")
                    .c_str());
        }
        return {seconds_of(both.first, "beside"), seconds_of(both.second, "beside")};
    }
    void steps(uint32_t cores, const Load& load, std::span<double> seconds) override {
        const nb::object found = forecaster_.attr("steps")(cores, to_python(load), seconds.size());
        const Column column(found);
        if (column.size() != seconds.size()) throw nb::value_error("a forecast has an entry for each step");
        for (std::size_t i = 0; i < seconds.size(); ++i) {
            seconds[i] = column[i];
            if (!(seconds[i] > 0.0 && std::isfinite(seconds[i]))) seconds_of(nb::float_(seconds[i]), "steps");
        }
    }

  private:
    nb::handle forecaster_;
};

// Whether what the engine asks of it is answered by its iteration alone, not by methods of a class derived.
bool plain(nb::handle forecaster) {
    const nb::object base = nb::module_::import_("flexnpu.forecast").attr("Forecaster");
    const nb::handle type = forecaster.type();
    for (const char* name : {"seconds", "beside", "steps"}) {
        if (!nb::getattr(type, name, nb::none()).is(base.attr(name))) return false;
    }
    return true;
}

std::unique_ptr<Times> times_of(nb::handle forecaster) {
    const nb::object iteration = nb::getattr(forecaster, "iteration", nb::none());
    if (nb::isinstance<Iteration>(iteration) && plain(forecaster)) {
        return std::make_unique<IterationTimes>(nb::cast<std::shared_ptr<Iteration>>(iteration));
    }
    return std::make_unique<PythonTimes>(forecaster);
}

// Of a round; their ends are kept.
constexpr int64_t kMostSteps = 1 << 30;

// cast_error for what is none.
Mode mode_of(nb::handle mode) {
    const auto name = nb::cast<std::string_view>(mode);
    if (name == "aggregated") return Mode::aggregated;
    if (name == "split") return Mode::split;
    if (name == "shared") return Mode::shared;
    throw nb::cast_error();
}

std::string_view name_of(Mode mode) {
    return mode == Mode::split ? "split" : mode == Mode::shared ? "shared" : "aggregated";
}

class PythonPolicy final : public Policy {
  public:
    explicit PythonPolicy(nb::object ask) : ask_(std::move(ask)) {}
    nb::handle ask() const { return ask_; }
    Answer plan(const Device& device, double now, const std::optional<Feedback>& feedback) override;

  private:
    nb::object ask_;
};

struct Asked {
    nb::object forecaster;
    std::unique_ptr<Times> times;
    PythonPolicy policy;
};

class PythonDevice final : private Asked, public Device {
  public:
    PythonDevice(Settings settings, nb::object forecaster, nb::object ask, std::optional<Looks> looks,
                 std::shared_ptr<Answers> answers)
        : Asked{forecaster, times_of(forecaster), PythonPolicy(std::move(ask))},
          Device(std::move(settings), *Asked::times, Asked::policy, looks, std::move(answers)) {}

    // What it has of Python, for the garbage collector.
    int visit(visitproc visit, void* arg) const {
        Py_VISIT(forecaster.ptr());
        Py_VISIT(policy.ask().ptr());
        return 0;
    }
};

// A policy, a forecast or who watches the plans may refer to the device. What they refer to it by can be cleared, so
// that the device need not give them up itself.
int visit_device(PyObject* self, visitproc visit, void* arg) {
    PyObject** attributes = _PyObject_GetDictPtr(self);
    if (attributes != nullptr) Py_VISIT(*attributes);
    Py_VISIT(Py_TYPE(self));
    return nb::inst_ready(self) ? nb::inst_ptr<PythonDevice>(self)->visit(visit, arg) : 0;
}

int clear_device(PyObject* self) {
    PyObject** attributes = _PyObject_GetDictPtr(self);
    if (attributes != nullptr) Py_CLEAR(*attributes);
    return 0;
}

PyType_Slot device_slots[] = {{Py_tp_traverse, reinterpret_cast<void*>(visit_device)},
                              {Py_tp_clear, reinterpret_cast<void*>(clear_device)},
                              {0, nullptr}};

Answer answer_of(nb::handle plan) {
    const auto [prefill, decode] = nb::cast<std::pair<uint32_t, uint32_t>>(plan.attr("split"));
    return {{mode_of(plan.attr("mode")),
             {prefill, decode},
             nb::cast<int64_t>(plan.attr("budget")),
             nb::cast<int64_t>(plan.attr("steps")),
             nb::cast<double>(plan.attr("weight"))},
            nb::cast<std::optional<std::vector<uint32_t>>>(plan.attr("order"))};
}

// Why no device with so many cores can follow the plan; nothing where it can.
const char* refused(const Plan& plan, uint32_t cores) {
    const auto [prefill, decode] = plan.split;
    if (prefill < 1 || decode < 1) return "a plan has cores for each phase";
    if (prefill > cores || decode > cores) return "a plan has at most the device's cores";
    if (plan.mode == Mode::split && prefill + decode > cores) return "both phases have at most the device's cores";
    if (!(plan.weight >= 0.0 && plan.weight <= 1.0)) return "a plan's weight is in [0, 1]";
    if (plan.budget < 0 || plan.steps < 0 || plan.steps > kMostSteps) return "a plan's budget and steps are 0 or more";
    return nullptr;
}

Answer PythonPolicy::plan(const Device& device, double now, const std::optional<Feedback>& feedback) {
    nb::object seen = nb::none();
    if (feedback) seen = nb::make_tuple(feedback->ttft, feedback->itl);
    const nb::object plan = ask_(nb::find(static_cast<const PythonDevice&>(device)), now, seen);
    try {
        Answer answer = answer_of(plan);
        if (const char* why = refused(answer.plan, device.settings.cores)) {
            throw nb::value_error(("the policy answered " + shown(plan) + "; " + why).c_str());
        }
        return answer;
    } catch (const nb::cast_error&) {
    } catch (const nb::python_error& error) {
        if (!error.matches(PyExc_AttributeError)) throw;
    }
    throw nb::type_error(
        ("the policy answered " + shown(plan) +
         "; a plan's cores, budget, steps and order are whole numbers, its weight is a number, and its "
         "mode aggregated, split or shared")
            .c_str());
}

template <class Value>
Value field(nb::handle config, const char* name, const char* wanted) {
    const nb::object given = config.attr(name);
    Value value{};
    if (!nb::try_cast(given, value)) {
        throw nb::type_error((std::string(name) + " is " + shown(given) + "; it must be " + wanted).c_str());
    }
    return value;
}

// `config`: a flexnpu.simulator.EngineConfig.
Settings settings_of(nb::handle config, uint32_t cores, int64_t blocks) {
    const nb::object targets = config.attr("targets");
    const auto whole = [&](const char* name) { return field<int64_t>(config, name, "a whole number"); };
    const auto real = [&](const char* name) { return field<double>(config, name, "a number"); };
    const auto phases = [&](const char* name) {
        const auto [prefill, decode] = field<std::pair<double, double>>(config, name, "two numbers");
        return Phases{prefill, decode};
    };
    const auto flag = [&](const char* name) { return field<bool>(config, name, "True or False"); };
    const auto limit = [&](const char* name) {
        return field<std::optional<int64_t>>(config, name, "a whole number or None");
    };
    return {.cores = cores,
            .ttft = nb::cast<double>(targets.attr("ttft")),
            .itl = nb::cast<double>(targets.attr("itl")),
            .each = nb::cast<bool>(targets.attr("each")),
            .token_budget = whole("token_budget"),
            .max_running = whole("max_running"),
            .max_decoding = limit("max_decoding"),
            .joins_per_step = limit("joins_per_step"),
            .whole_prompts = flag("whole_prompts"),
            .blocks = blocks,
            .block_tokens = whole("block_tokens"),
            .hash_tokens = whole("hash_tokens"),
            .prefix_caching = flag("prefix_caching"),
            .intake_seconds = real("intake_seconds"),
            .launch_seconds = real("launch_seconds"),
            .dispatch_seconds = real("dispatch_seconds"),
            .graph_seconds = real("graph_seconds"),
            .switch_seconds = real("switch_seconds"),
            .look_seconds = real("look_seconds"),
            .launched_part = real("launched_part"),
            .beside = phases("beside"),
            .turns = phases("turns"),
            .turn_seconds = phases("turn_seconds"),
            .graphs = field<std::vector<uint32_t>>(config, "graphs", "a sequence of numbers of cores"),
            .look_ahead = whole("look_ahead"),
            .feedback_seconds = real("feedback_seconds"),
            .feedback_part = real("feedback_part")};
}

void set_up(PythonDevice* self, nb::object forecaster, nb::object ask, nb::handle config, int64_t blocks,
            std::optional<Looks> looks, std::shared_ptr<Answers> answers) {
    const auto cores = nb::cast<uint32_t>(forecaster.attr("cores"));
    new (self) PythonDevice(settings_of(config, cores, blocks), std::move(forecaster), std::move(ask), looks,
                            std::move(answers));
}

// Whole numbers of any size, modulo 2 ** 64.
std::vector<int64_t> ids_of(nb::handle blocks) {
    // A tuple, since an id that is no int runs Python code, which could change a list meanwhile.
    const auto items = nb::steal(PySequence_Tuple(blocks.ptr()));
    if (!items.is_valid()) throw nb::python_error();
    std::vector<int64_t> ids(static_cast<std::size_t>(PyTuple_GET_SIZE(items.ptr())));
    for (std::size_t i = 0; i < ids.size(); ++i) {
        PyObject* item = PyTuple_GET_ITEM(items.ptr(), static_cast<Py_ssize_t>(i));
        ids[i] = static_cast<int64_t>(PyLong_AsUnsignedLongLongMask(item));
        if (ids[i] == -1 && PyErr_Occurred()) throw nb::python_error();
    }
    return ids;
}

// The fields of flexnpu.simulator.Finished; a request that was not dropped.
nb::tuple record(const Request& request) {
    const Slowest slowest = request.slowest();
    const bool complete = request.generated >= request.output;
    return nb::make_tuple(request.arrival, request.first_token, complete ? request.last_token : kNever, request.prompt,
                          request.output, std::max<int64_t>(request.cached, 0), slowest.longest, slowest.p99,
                          request.mean_tpot(), request.preemptions, false, request.index);
}

void bind_request(nb::module_& m) {
    nb::class_<Request>(m, "SimulatedRequest")
        .def(nb::new_([](int64_t index, double arrival, int64_t prompt, int64_t output, nb::handle blocks) {
                 return std::make_shared<Request>(index, arrival, prompt, output, ids_of(blocks));
             }),
             "index"_a, "arrival"_a, "prompt"_a, "output"_a, "blocks"_a)
        .def_ro("index", &Request::index)
        .def_ro("since", &Request::since)
        .def_ro("target", &Request::target)
        .def_rw("computed", &Request::computed)
        .def_ro("length", &Request::length)
        .def_ro("join_step", &Request::join_step)
        .def_ro("shared", &Request::shared)
        .def("record", &record)
        .def_prop_ro("gap_count", [](const Request& request) { return request.gaps.size(); })
        .def(
            "gaps",
            [](const Request& request, nb::handle seconds) {
                const Column column(seconds, true);
                if (column.size() != request.gaps.size()) throw nb::value_error("the column has gap_count entries");
                std::copy(request.gaps.begin(), request.gaps.end(), column.all().begin());
            },
            "seconds"_a);
}

void bind_parts(nb::module_& m) {
    nb::class_<KvCache>(m, "KvCache")
        .def(nb::init<int64_t, int64_t, int64_t, bool>(), "capacity"_a, "block_tokens"_a, "hash_tokens"_a, "caching"_a)
        .def_prop_ro("capacity", &KvCache::capacity)
        .def_prop_ro("block_tokens", &KvCache::block_tokens)
        .def_prop_ro("free", &KvCache::free)
        .def_prop_ro("used", &KvCache::used)
        .def("hits", &KvCache::hits, "request"_a)
        .def("fits", &KvCache::fits, "request"_a)
        .def("admit", &KvCache::admit, "request"_a)
        .def("grow", &KvCache::grow, "blocks"_a)
        .def("computed", &KvCache::computed, "request"_a)
        .def("release", &KvCache::release, "request"_a);
    nb::class_<Prompts>(m, "Prompts")
        .def(nb::init<bool>(), "whole"_a = false)
        .def("__len__", &Prompts::size)
        .def_prop_ro("tokens", &Prompts::tokens)
        .def_prop_ro("half_run", &Prompts::half_run)
        .def_prop_ro("waiting",
                     [](const Prompts& prompts) {
                         return std::vector<RequestPtr>(prompts.waiting().begin(), prompts.waiting().end());
                     })
        .def_prop_ro("waiting_count", [](const Prompts& prompts) { return prompts.waiting().size(); })
        .def("put", &Prompts::put, "request"_a)
        .def(
            "reorder",
            [](Prompts& prompts, const std::vector<uint32_t>& order, std::size_t among) {
                prompts.reorder(order, among);
            },
            "order"_a, "among"_a);
    nb::class_<Decoding>(m, "Decoding")
        .def_prop_ro("sequences", &Decoding::sequences)
        .def_prop_ro("seen", &Decoding::seen)
        .def_prop_ro("step", &Decoding::step)
        .def_prop_ro("members", &Decoding::members)
        .def_prop_ro("load", [](const Decoding& decoding) { return to_python(decoding.load()); })
        .def(
            "credits",
            [](const Decoding& decoding, double now, nb::handle seconds) {
                const Column column(seconds, true);
                if (column.size() != static_cast<std::size_t>(decoding.sequences())) {
                    throw nb::value_error("the column has an entry for each sequence");
                }
                decoding.credits(now, column.all());
            },
            "now"_a, "seconds"_a);
    nb::class_<Counters>(m, "DeviceCounters")
        .def_ro("turns", &Counters::turns)
        .def_ro("mixed", &Counters::mixed)
        .def_ro("prefills", &Counters::prefills)
        .def_ro("steps", &Counters::steps)
        .def_ro("preemptions", &Counters::preemptions)
        .def_ro("switches", &Counters::switches)
        .def_ro("plans", &Counters::plans)
        .def_ro("kv_peak", &Counters::kv_peak);
    nb::class_<Answers>(m, "Answers").def(nb::new_([] { return std::make_shared<Answers>(); }));
    nb::enum_<Looks>(m, "Looks")
        .value("NOTHING", Looks::nothing)
        .value("WINDOW", Looks::window)
        .value("BATCH", Looks::batch)
        .value("LOAD", Looks::load)
        .value("WAIT", Looks::wait)
        .value("SPLIT", Looks::split)
        .value("QUEUE", Looks::queue)
        .value("ALL", Looks::all);
}

nb::object current(const PythonDevice& device) {
    const std::optional<Plan>& plan = device.planning.plan();
    if (!plan) return nb::none();
    return nb::make_tuple(name_of(plan->mode), plan->split.prefill, plan->split.decode, plan->weight);
}

void show(const PythonDevice& device, double now, nb::handle fresh, nb::handle cached, nb::handle waits) {
    const Column one(fresh, true), two(cached, true), three(waits, true);
    check_lengths({&one, &two, &three});
    if (one.size() != static_cast<std::size_t>(shown_prompts(device))) {
        throw nb::value_error("columns have an entry for each of `shown` prompts");
    }
    show_prompts(device, now, one.all(), two.all(), three.all());
}

void bind_device(nb::module_& m) {
    nb::class_<PythonDevice>(m, "Device", nb::dynamic_attr(), nb::type_slots(device_slots))
        .def("__init__", &set_up, "forecaster"_a, "ask"_a, "config"_a, "blocks"_a, "looks"_a.none(), "answers"_a)
        .def_prop_ro("next_seconds", &PythonDevice::next_seconds)
        .def("put", &PythonDevice::put, "request"_a, "now"_a)
        .def("put_decoding", &PythonDevice::put_decoding, "request"_a, "blocks"_a, "now"_a)
        .def("wake", &PythonDevice::wake, "now"_a)
        .def("free_blocks", &PythonDevice::free_blocks, "now"_a)
        .def("take", &PythonDevice::take, "blocks"_a, "now"_a)
        .def("turn", &PythonDevice::turn, "now"_a)
        .def("take_finished", &PythonDevice::take_finished)
        .def("take_handed", &PythonDevice::take_handed)
        .def("leave", &PythonDevice::leave, "request"_a)
        .def("all_requests", &PythonDevice::all_requests)
        .def("busy_cores",
             [](const PythonDevice& device) {
                 const BusyCores busy = device.busy_cores();
                 return nb::make_tuple(busy.prefill, busy.decode, busy.both);
             })
        .def_rw("decodes", &PythonDevice::decodes)
        .def_prop_ro("running", &PythonDevice::running)
        .def_prop_ro("admitted", [](const PythonDevice& device) { return device.admitted.size(); })
        .def_prop_ro("joining", &PythonDevice::joining)
        .def_ro("kv", &PythonDevice::kv)
        .def_ro("prompts", &PythonDevice::prompts)
        .def_ro("decoding", &PythonDevice::decoding)
        .def_ro("counters", &PythonDevice::counters)
        .def_prop_ro("current", &current)
        .def_prop_ro("shown", [](const PythonDevice& device) { return shown_prompts(device); })
        .def("show", &show, "now"_a, "new"_a, "cached"_a, "waits"_a);
}

}  // namespace

}  // namespace flexnpu::simulator

namespace flexnpu {

void bind_simulator(nb::module_& m) {
    simulator::bind_request(m);
    simulator::bind_parts(m);
    simulator::bind_device(m);
}

}  // namespace flexnpu
