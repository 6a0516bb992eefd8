// SPDX-License-Identifier: Apache-2.0
//
// flexnpu._native: the shared pages, the handshake and the arbiter for the daemon; forecast.cc and planner.cc bind the
// inner loops of flexnpu/forecast and flexnpu/planner. Conversions only; what they do is in native/arbiter. The typed
// face of these files is flexnpu/_native.pyi.
#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "arbiter/arbiter.h"
#include "arbiter/handshake.h"
#include "arbiter/pages.h"
#include "python/bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace flexnpu {
namespace {

nb::bytes bytes_of(const std::string& text) { return nb::bytes(text.data(), text.size()); }

std::vector<uint64_t> launches(const DeviceReport& report) {
    return {std::begin(report.launches), std::end(report.launches)};
}

std::vector<uint64_t> waits(const ReportSnapshot& report) { return {std::begin(report.waits), std::end(report.waits)}; }

std::vector<uint64_t> steps(const ReportPage& page) {
    const StepCounts counts = page.steps();
    return {counts.prefill, counts.decode, counts.mixed};
}

// Pages that the arbiter shares are C++'s own: were they Python's, the arbiter's thread, which holds its lock when it
// lets go of one, would wait for Python's, and whoever has that may be waiting for the arbiter's.
void bind_pages(nb::module_& m) {
    nb::class_<ControlPage>(m, "ControlPage")
        .def(nb::new_([](std::string_view vnpu, const std::vector<uint32_t>& devices) {
                 return std::make_shared<ControlPage>(vnpu, devices);
             }),
             "vnpu"_a, "devices"_a)
        .def_prop_ro("fd", &ControlPage::fd)
        .def("grant", &ControlPage::grant, "ordinal"_a)
        .def("set_phase", &ControlPage::set_phase, "phase"_a)
        .def("publish", &ControlPage::publish, "ordinal"_a, "grant"_a, "cube"_a, "vector"_a, "memory_bytes"_a);
    nb::class_<ReportSnapshot>(m, "ReportSnapshot")
        .def_ro("tiled", &ReportSnapshot::tiled)
        .def_ro("launched", &ReportSnapshot::launched)
        .def_ro("ungoverned", &ReportSnapshot::ungoverned)
        .def_prop_ro("waits", &waits);
    nb::class_<DeviceReport>(m, "DeviceReport")
        .def_ro("seen_grant", &DeviceReport::seen_grant)
        .def_ro("applied_grant", &DeviceReport::applied_grant)
        .def_ro("applied_ns", &DeviceReport::applied_ns)
        .def_ro("waited_ns", &DeviceReport::waited_ns)
        .def_ro("busy_ns", &DeviceReport::busy_ns)
        .def_ro("memory_denied", &DeviceReport::memory_denied)
        .def_prop_ro("launches", &launches);
    nb::class_<IterationReport>(m, "IterationReport")
        .def_ro("steps", &IterationReport::steps)
        .def_ro("phase", &IterationReport::phase)
        .def_ro("requests", &IterationReport::requests)
        .def_ro("new_tokens", &IterationReport::new_tokens)
        .def_ro("context_sum", &IterationReport::context_sum)
        .def_ro("context_most", &IterationReport::context_most)
        .def_ro("graph", &IterationReport::graph)
        .def_ro("at_ns", &IterationReport::at_ns);
    nb::class_<GraphReport>(m, "GraphReport")
        .def_ro("ordinal", &GraphReport::ordinal)
        .def_ro("cube", &GraphReport::cube)
        .def_ro("vector", &GraphReport::vector)
        .def_ro("replays", &GraphReport::replays);
    nb::class_<ReportPage>(m, "ReportPage")
        .def(nb::new_([](uint32_t pid) { return std::make_shared<ReportPage>(pid); }), "pid"_a)
        .def(nb::new_([](int fd, uint32_t pid) { return std::make_shared<ReportPage>(fd, pid); }), "fd"_a, "pid"_a)
        .def_prop_ro("fd", &ReportPage::fd)
        .def("close_fd", &ReportPage::close_fd)
        .def("read", nb::overload_cast<>(&ReportPage::read, nb::const_))
        .def("read_device", nb::overload_cast<uint32_t>(&ReportPage::read, nb::const_), "ordinal"_a)
        .def("iteration", &ReportPage::iteration)
        .def("begun", &ReportPage::begun)
        .def("steps", &steps)
        .def("graphs", &ReportPage::graphs);
    nb::class_<HailPage>(m, "HailPage")
        .def(nb::new_([] { return std::make_shared<HailPage>(); }))
        .def_prop_ro("fd", &HailPage::fd)
        .def("close_fd", &HailPage::close_fd);
    nb::class_<LedgerPage>(m, "LedgerPage")
        .def(nb::init<uint32_t>(), "device_count"_a)
        .def(nb::init<int, uint32_t>(), "fd"_a, "device_count"_a)
        .def_prop_ro("fd", &LedgerPage::fd)
        .def("used", &LedgerPage::used, "ordinal"_a)
        .def("peak", &LedgerPage::peak, "ordinal"_a)
        .def("charged", &LedgerPage::charged, "ordinal"_a, "slot"_a)
        .def("release", &LedgerPage::release, "slot"_a)
        .def("settle", &LedgerPage::settle)
        .def("is_fd", &LedgerPage::is, "fd"_a);
}

void bind_handshake(nb::module_& m) {
    m.attr("PAGE_VERSION") = FLEXNPU_PAGE_VERSION;
    m.attr("PAGE_SIZE") = FLEXNPU_PAGE_SIZE;
    m.attr("LEDGER_SIZE") = FLEXNPU_LEDGER_SIZE;
    m.attr("WAIT_BOUNDS_NS") =
        std::vector<uint64_t>(std::begin(flexnpu_wait_bounds_ns), std::end(flexnpu_wait_bounds_ns));
    m.attr("MOST_DEVICES") = FLEXNPU_DEVICES;
    m.attr("MOST_PROCESSES") = FLEXNPU_PROCESSES;
    m.attr("NO_SLOT") = FLEXNPU_NO_SLOT;
    m.attr("HELLO_SIZE") = sizeof(flexnpu_hello);
    m.attr("WELCOME_SIZE") = sizeof(flexnpu_welcome);
    m.attr("OK") = static_cast<int>(FLEXNPU_OK);
    m.attr("BAD_HELLO") = static_cast<int>(FLEXNPU_BAD_HELLO);
    m.attr("BAD_VERSION") = static_cast<int>(FLEXNPU_BAD_VERSION);
    m.attr("UNKNOWN_VNPU") = static_cast<int>(FLEXNPU_UNKNOWN_VNPU);
    m.attr("DENIED") = static_cast<int>(FLEXNPU_DENIED);
    m.attr("DAEMON_FAULT") = static_cast<int>(FLEXNPU_DAEMON_FAULT);
    nb::class_<Hello>(m, "Hello")
        .def_ro("status", &Hello::status)
        .def_ro("version", &Hello::version)
        .def_prop_ro("vnpu", [](const Hello& hello) { return bytes_of(hello.vnpu); })
        .def_ro("returning", &Hello::returning)
        .def_ro("slot", &Hello::slot);
    m.def("parse_hello", [](const nb::bytes& data) { return parse_hello({data.c_str(), data.size()}); }, "data"_a);
    m.def(
        "pack_hello", [](std::string_view vnpu, uint32_t version) { return bytes_of(pack_hello(vnpu, version)); },
        "vnpu"_a, "version"_a = FLEXNPU_PAGE_VERSION);
    m.def(
        "pack_welcome",
        [](uint32_t status, std::string_view message, uint32_t slot) {
            return bytes_of(pack_welcome(status, message, slot));
        },
        "status"_a, "message"_a = "", "slot"_a = FLEXNPU_NO_SLOT);
}

std::vector<TenantId> restore(Arbiter& arbiter, VNpuId vnpu, std::shared_ptr<ControlPage> page, uint32_t ordinal,
                              const Quota& quota, const std::vector<std::tuple<uint32_t, uint32_t, bool>>& older,
                              uint32_t absent, std::shared_ptr<Gang> gang) {
    std::vector<OldGrant> grants;
    for (const auto& [revision, cores, time_shared] : older) grants.push_back({revision, cores, time_shared});
    return arbiter.restore(vnpu, std::move(page), ordinal, quota, grants, absent, std::move(gang));
}

void change(Arbiter& arbiter, const std::vector<std::pair<VNpuId, Quota>>& changes) {
    std::vector<Change> wanted;
    for (const auto& [vnpu, quota] : changes) wanted.push_back({vnpu, quota});
    arbiter.change(wanted);
}

// Keyword arguments by the fields' names.
void set_quota(Quota* self, uint32_t revision, uint32_t cores, uint64_t memory_bytes, uint32_t burst_cores,
               uint32_t vector_cores, uint32_t share, bool fixed, uint32_t priority, uint32_t phase) {
    new (self)
        Quota{revision, cores, std::max(cores, burst_cores), vector_cores, memory_bytes, share, fixed, priority, phase};
}

void set_up(Arbiter* self, uint32_t device_cores, uint32_t vector_cores, bool by_phase,
            std::shared_ptr<HailPage> hails) {
    const DispatchMode mode = by_phase ? DispatchMode::phase : DispatchMode::fair;
    new (self) Arbiter(device_cores, vector_cores, mode, std::move(hails));
}

void bind_arbiter(nb::module_& m) {
    nb::class_<Quota>(m, "Quota")
        .def("__init__", &set_quota, nb::kw_only(), "revision"_a, "cores"_a, "memory_bytes"_a, "burst_cores"_a = 0,
             "vector_cores"_a = 0, "share"_a = 0, "fixed"_a = false, "priority"_a = 0, "phase"_a = 0)
        .def_ro("revision", &Quota::revision)
        .def_ro("cores", &Quota::cores);
    nb::class_<VNpuState>(m, "VNpuState")
        .def_ro("desired_revision", &VNpuState::desired_revision)
        .def_ro("desired_cores", &VNpuState::desired_cores)
        .def_ro("granted_revision", &VNpuState::granted_revision)
        .def_ro("granted_cores", &VNpuState::granted_cores)
        .def_ro("granted_vector_cores", &VNpuState::granted_vector_cores)
        .def_ro("lent_cores", &VNpuState::lent_cores)
        .def_ro("held_cores", &VNpuState::held_cores)
        .def_ro("live_tenants", &VNpuState::live_tenants)
        .def_ro("applied_revision", &VNpuState::applied_revision)
        .def_ro("applied_after_ns", &VNpuState::applied_after_ns)
        .def_ro("grant_number", &VNpuState::grant_number)
        .def_ro("share", &VNpuState::share)
        .def_ro("effective_share", &VNpuState::effective_share)
        .def_ro("turns", &VNpuState::turns)
        .def_ro("used_ns", &VNpuState::used_ns)
        .def_ro("demand", &VNpuState::demand)
        .def_ro("holds_turn", &VNpuState::holds_turn);
    nb::class_<Gang>(m, "Gang").def(nb::new_([](uint32_t leader) { return std::make_shared<Gang>(leader); }),
                                    "leader"_a);
    nb::class_<Arbiter>(m, "Arbiter")
        .def("__init__", &set_up, "device_cores"_a, "vector_cores"_a, "by_phase"_a = false, "hails"_a = nb::none())
        .def_prop_ro("event_fd", &Arbiter::event_fd)
        .def_prop_ro("held_cores", &Arbiter::held_cores)
        .def("add", &Arbiter::add, "vnpu"_a, "page"_a, "ordinal"_a, "quota"_a, "gang"_a = nb::none())
        .def("restore", &restore, "vnpu"_a, "page"_a, "ordinal"_a, "quota"_a, "older"_a, "absent"_a,
             "gang"_a = nb::none())
        .def("change", &change, "changes"_a)
        .def("remove", &Arbiter::remove, "vnpu"_a)
        .def("attach", &Arbiter::attach, "vnpu"_a, "page"_a, "pid"_a, "fresh"_a)
        .def("detach", &Arbiter::detach, "vnpu"_a, "tenant"_a)
        .def("applied_revision", &Arbiter::applied_revision, "vnpu"_a, "tenant"_a)
        .def("watch", &Arbiter::watch, "vnpu"_a, "watched"_a)
        .def("state", &Arbiter::state, "vnpu"_a)
        .def("take_news", &Arbiter::take_news);
}

}  // namespace
}  // namespace flexnpu

NB_MODULE(_native, m) {
    m.doc() = "Shared pages, handshake and arbiter of FlexNPU; the inner loops of forecast, planner and simulator.";
    // Forecasts are kept in modules' own variables, which Python does not clear when it ends.
    nb::set_leak_warnings(false);
    flexnpu::bind_pages(m);
    flexnpu::bind_handshake(m);
    flexnpu::bind_arbiter(m);
    flexnpu::bind_forecast(m);
    flexnpu::bind_planner(m);
    flexnpu::bind_simulator(m);
}
