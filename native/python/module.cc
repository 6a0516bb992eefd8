// SPDX-License-Identifier: Apache-2.0
//
// flexnpu._native: the shared pages, the handshake and the arbiter for the daemon. Conversions only; what they do is in
// native/arbiter. The typed face of this file is flexnpu/_native.pyi.
#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "arbiter/arbiter.h"
#include "arbiter/pages.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace flexnpu {
namespace {

using PyGrant = std::pair<uint32_t, uint32_t>;                      // revision, cores
using PyChange = std::tuple<VNpuId, uint32_t, uint32_t, uint64_t>;  // vnpu, revision, cores, memory_bytes

struct Hello {
    uint32_t status;  // FLEXNPU_OK, FLEXNPU_BAD_HELLO or FLEXNPU_BAD_VERSION
    uint32_t version;
    nb::bytes vnpu;  // as sent; a name is checked by who looks it up
};

Hello parse_hello(const nb::bytes& data) {
    flexnpu_hello hello{};
    std::memcpy(&hello, data.data(), std::min(data.size(), sizeof hello));
    // Magic and version lie in front in every version, so that an old or new peer gets an answer it understands.
    if (data.size() < 8 || hello.magic != FLEXNPU_PAGE_MAGIC) return {FLEXNPU_BAD_HELLO, 0, nb::bytes("", 0)};
    if (hello.version != FLEXNPU_PAGE_VERSION) return {FLEXNPU_BAD_VERSION, hello.version, nb::bytes("", 0)};
    const size_t length = strnlen(hello.vnpu, sizeof hello.vnpu);
    if (data.size() != sizeof hello || hello.size != sizeof hello || length == sizeof hello.vnpu) {
        return {FLEXNPU_BAD_HELLO, hello.version, nb::bytes("", 0)};
    }
    return {FLEXNPU_OK, hello.version, nb::bytes(hello.vnpu, length)};
}

nb::bytes pack_hello(std::string_view vnpu, uint32_t version) {
    flexnpu_hello hello{FLEXNPU_PAGE_MAGIC, version, sizeof(flexnpu_hello), 0, {}};
    std::memcpy(hello.vnpu, vnpu.data(), std::min(vnpu.size(), sizeof hello.vnpu - 1));
    return nb::bytes(&hello, sizeof hello);
}

nb::bytes pack_welcome(uint32_t status, std::string_view message) {
    flexnpu_welcome welcome{FLEXNPU_PAGE_MAGIC, FLEXNPU_PAGE_VERSION, sizeof(flexnpu_welcome), status, {}};
    std::memcpy(welcome.message, message.data(), std::min(message.size(), sizeof welcome.message - 1));
    return nb::bytes(&welcome, sizeof welcome);
}

std::vector<uint64_t> launches(const ReportSnapshot& report) {
    return {std::begin(report.launches), std::end(report.launches)};
}

void bind_pages(nb::module_& m) {
    nb::class_<ControlPage>(m, "ControlPage")
        .def(nb::init<std::string_view, uint32_t>(), "vnpu"_a, "device"_a)
        .def_prop_ro("fd", &ControlPage::fd)
        .def("publish", &ControlPage::publish, "revision"_a, "cube"_a, "vector"_a, "memory_bytes"_a);
    nb::class_<ReportSnapshot>(m, "ReportSnapshot")
        .def_ro("seen_revision", &ReportSnapshot::seen_revision)
        .def_ro("applied_revision", &ReportSnapshot::applied_revision)
        .def_ro("applied_ns", &ReportSnapshot::applied_ns)
        .def_ro("memory_used", &ReportSnapshot::memory_used)
        .def_ro("memory_peak", &ReportSnapshot::memory_peak)
        .def_ro("memory_denied", &ReportSnapshot::memory_denied)
        .def_ro("tiled", &ReportSnapshot::tiled)
        .def_ro("launched", &ReportSnapshot::launched)
        .def_ro("ungoverned", &ReportSnapshot::ungoverned)
        .def_prop_ro("launches", &launches);
    nb::class_<ReportPage>(m, "ReportPage")
        .def(nb::init<uint32_t>(), "pid"_a)
        .def_prop_ro("fd", &ReportPage::fd)
        .def("close_fd", &ReportPage::close_fd)
        .def("read", &ReportPage::read);
}

void bind_handshake(nb::module_& m) {
    m.attr("PAGE_VERSION") = FLEXNPU_PAGE_VERSION;
    m.attr("PAGE_SIZE") = FLEXNPU_PAGE_SIZE;
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
        .def_ro("vnpu", &Hello::vnpu);
    m.def("parse_hello", &parse_hello, "data"_a);
    m.def("pack_hello", &pack_hello, "vnpu"_a, "version"_a = FLEXNPU_PAGE_VERSION);
    m.def("pack_welcome", &pack_welcome, "status"_a, "message"_a = "");
}

void add(Arbiter& arbiter, VNpuId id, std::shared_ptr<ControlPage> page, const PyGrant& grant, uint64_t memory_bytes) {
    arbiter.add(id, std::move(page), {{grant.first, grant.second}, memory_bytes});
}

std::vector<TenantId> restore(Arbiter& arbiter, VNpuId id, std::shared_ptr<ControlPage> page,
                              const std::vector<PyGrant>& grants, uint64_t memory_bytes, uint32_t absent) {
    if (grants.empty()) throw std::invalid_argument("a restored vNPU has at least one grant");
    std::vector<Grant> older;
    for (const auto& [revision, cores] : grants) older.push_back({revision, cores});
    const Grant last = older.back();
    older.pop_back();
    return arbiter.restore(id, std::move(page), {last, memory_bytes}, std::move(older), absent);
}

void change(Arbiter& arbiter, const std::vector<PyChange>& changes) {
    std::vector<Change> wanted;
    for (const auto& [vnpu, revision, cores, memory] : changes) wanted.push_back({vnpu, {{revision, cores}, memory}});
    arbiter.change(wanted);
}

void bind_arbiter(nb::module_& m) {
    nb::class_<VNpuState>(m, "VNpuState")
        .def_prop_ro("desired_revision", [](const VNpuState& s) { return s.desired.revision; })
        .def_prop_ro("desired_cores", [](const VNpuState& s) { return s.desired.cores; })
        .def_prop_ro("granted_revision", [](const VNpuState& s) { return s.granted.revision; })
        .def_prop_ro("granted_cores", [](const VNpuState& s) { return s.granted.cores; })
        .def_ro("held_cores", &VNpuState::held_cores)
        .def_ro("live_tenants", &VNpuState::live_tenants)
        .def_ro("applied_revision", &VNpuState::applied_revision)
        .def_ro("applied_after_ns", &VNpuState::applied_after_ns);
    nb::class_<Arbiter>(m, "Arbiter")
        .def(nb::init<uint32_t, uint32_t>(), "device_cores"_a, "vector_cores"_a)
        .def_prop_ro("event_fd", &Arbiter::event_fd)
        .def_prop_ro("held_cores", &Arbiter::held_cores)
        .def("add", &add, "vnpu"_a, "page"_a, "grant"_a, "memory_bytes"_a)
        .def("restore", &restore, "vnpu"_a, "page"_a, "grants"_a, "memory_bytes"_a, "absent"_a)
        .def("change", &change, "changes"_a)
        .def("remove", &Arbiter::remove, "vnpu"_a)
        .def("attach", &Arbiter::attach, "vnpu"_a, "page"_a, "fresh"_a)
        .def("detach", &Arbiter::detach, "vnpu"_a, "tenant"_a)
        .def("state", &Arbiter::state, "vnpu"_a);
}

}  // namespace
}  // namespace flexnpu

NB_MODULE(_native, m) {
    m.doc() = "Shared pages, handshake and arbiter of FlexNPU.";
    flexnpu::bind_pages(m);
    flexnpu::bind_handshake(m);
    flexnpu::bind_arbiter(m);
}
