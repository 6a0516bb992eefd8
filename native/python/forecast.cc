// SPDX-License-Identifier: Apache-2.0
//
// Binds native/forecast. Arrays are float64 columns of numpy; those that a function fills come last.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "forecast/attention.h"
#include "forecast/contention.h"
#include "forecast/iteration.h"
#include "forecast/load.h"
#include "forecast/rows.h"
#include "python/bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace flexnpu {

Column::Column(nb::handle array, bool written) {
    const int flags = written ? PyBUF_FORMAT | PyBUF_ND | PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE : PyBUF_RECORDS_RO;
    if (PyObject_GetBuffer(array.ptr(), &view_, flags)) throw nb::python_error();
    if (view_.ndim != 1 || view_.format == nullptr || std::string_view(view_.format) != "d") {
        PyBuffer_Release(&view_);
        throw nb::type_error("a column is an array of float64 with one dimension");
    }
}

void check_lengths(std::initializer_list<const Column*> columns) {
    for (const Column* column : columns) {
        if (column->size() != (*columns.begin())->size()) throw nb::value_error("columns are of one length");
    }
}

Load load_of(nb::handle load) {
    std::array<double, 7> sums;
    if (!PyTuple_Check(load.ptr()) || PyTuple_GET_SIZE(load.ptr()) != static_cast<Py_ssize_t>(sums.size())) {
        throw nb::type_error("a load is a tuple of seven numbers");
    }
    for (std::size_t i = 0; i < sums.size(); ++i) {
        sums[i] = PyFloat_AsDouble(PyTuple_GET_ITEM(load.ptr(), static_cast<Py_ssize_t>(i)));
        if (sums[i] == -1.0 && PyErr_Occurred()) throw nb::python_error();
    }
    return {sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6]};
}

nb::object to_python(const Load& load) {
    static const nb::handle type = nb::object(nb::module_::import_("flexnpu.forecast.load").attr("Load")).release();
    const nb::tuple sums = nb::make_tuple(load.prefill_tokens, load.prefill_sequences, load.prefill_pairs,
                                          load.prefill_seen, load.decode_sequences, load.decode_seen, load.logits);
    const nb::tuple arguments = nb::make_tuple(sums);
    // As tuple.__new__(Load, sums), which asks nothing of the class.
    return nb::steal(PyTuple_Type.tp_new(reinterpret_cast<PyTypeObject*>(type.ptr()), arguments.ptr(), nullptr));
}

namespace {

// Attention that Python has, with the methods of PlainAttention.
class PythonAttention final : public Attention {
  public:
    explicit PythonAttention(nb::object attention) : attention_(std::move(attention)) {}

    double seconds(const Load& load, uint32_t cores) override {
        return nb::cast<double>(attention_.attr("seconds")(to_python(load), cores));
    }
    Single single(const Load& load, uint32_t cores) override {
        const auto [alone, held, traffic] =
            nb::cast<std::tuple<double, double, double>>(attention_.attr("single")(to_python(load), cores));
        return {alone, held, traffic, 0.0};
    }
    Row by_cores(const Load& load) override {
        const nb::tuple found = nb::cast<nb::tuple>(attention_.attr("by_cores")(to_python(load)));
        const Column alone(found[0]), held(found[1]);
        check_lengths({&alone, &held});
        Row row(alone.size());
        for (std::size_t i = 0; i < alone.size(); ++i) row.alone[i] = alone[i], row.held[i] = held[i];
        row.traffic = nb::cast<double>(found[2]);
        return row;
    }
    void steps(const Load& load, uint32_t cores, std::span<double> seen) override {
        const nb::object keys = nb::module_::import_("numpy").attr("empty")(seen.size());
        {
            const Column column(keys, true);
            std::copy(seen.begin(), seen.end(), column.all().begin());
        }
        const Column seconds(attention_.attr("steps")(to_python(load), cores, keys));
        if (seconds.size() != seen.size()) throw nb::value_error("columns are of one length");
        for (std::size_t i = 0; i < seen.size(); ++i) seen[i] = seconds[i];
    }

  private:
    nb::object attention_;
};

std::shared_ptr<Attention> attention_of(nb::object attention) {
    if (nb::isinstance<PlainAttention>(attention)) return nb::cast<std::shared_ptr<PlainAttention>>(attention);
    return std::make_shared<PythonAttention>(std::move(attention));
}

// What Python's `fill(tokens, step)` gives: numbers of tokens, then alone, held, traffic and links, a row for each.
Rows::Fill fill_of(nb::object fill, uint32_t cores) {
    return [fill = std::move(fill), cores](double tokens, double step, const Rows::Put& put) {
        const nb::tuple found = nb::cast<nb::tuple>(fill(tokens, step));
        const Column wanted(found[0]), traffic(found[3]), links(found[4]);
        check_lengths({&wanted, &traffic, &links});
        for (std::size_t i = 0; i < wanted.size(); ++i) {
            const Column alone(found[1][i]), held(found[2][i]);
            if (alone.size() != cores + 1 || held.size() != cores + 1) {
                throw nb::value_error("a row has an entry for no cores and for each number of them");
            }
            Row row(cores + 1);
            for (std::size_t each = 0; each <= cores; ++each)
                row.alone[each] = alone[each], row.held[each] = held[each];
            row.traffic = traffic[i], row.links = links[i];
            put(wanted[i], std::move(row));
        }
    };
}

std::tuple<double, double, double, double> fields(const Single& single) {
    return {single.alone, single.held, single.traffic, single.links};
}

Load sums(nb::handle fresh, nb::handle cached, nb::handle copies, std::optional<double> window) {
    const Column one(fresh), two(cached), three(copies);
    check_lengths({&one, &two, &three});
    Load load;
    for (std::size_t i = 0; i < one.size(); ++i) add(load, {one[i], two[i], three[i]}, window);
    return load;
}

PerToken per_token(const std::tuple<double, double, double>& each) {
    return {std::get<0>(each), std::get<1>(each), std::get<2>(each)};
}

using Three = std::tuple<double, double, double>;

void set_up(PlainAttention* self, std::vector<double> rates, std::vector<double> bandwidth, double left, double pace,
            double queries, double heads, double key, double bend, double fixed, double block, Three context,
            Three generation) {
    new (self) PlainAttention({std::move(rates), std::move(bandwidth), left, pace, queries, heads, key, bend, fixed,
                               block, per_token(context), per_token(generation)});
}

void bind_rows(nb::module_& m) {
    nb::enum_<Asks>(m, "Asks")
        .value("TOKENS", Asks::tokens)
        .value("LOGITS", Asks::logits)
        .value("READERS", Asks::readers)
        .value("KEYS", Asks::keys);
    nb::class_<Rows>(m, "Rows")
        .def(nb::new_([](nb::object fill, uint32_t cores, double exact, int fine, double last) {
                 return std::make_shared<Rows>(fill_of(std::move(fill), cores), cores, Grid{exact, fine, last});
             }),
             "fill"_a, "cores"_a, "exact"_a, "fine"_a, "last"_a)
        .def(
            "single", [](Rows& rows, double tokens, uint32_t cores) { return fields(rows.single(tokens, cores)); },
            "tokens"_a, "cores"_a);
}

void bind_attention(nb::module_& m) {
    nb::class_<PlainAttention>(m, "PlainAttention")
        .def("__init__", &set_up, nb::kw_only(), "rates"_a, "bandwidth"_a, "left"_a, "pace"_a, "queries"_a, "heads"_a,
             "key"_a, "bend"_a, "fixed"_a, "block"_a, "context"_a, "generation"_a)
        .def(
            "single",
            [](PlainAttention& attention, nb::handle load, uint32_t cores) {
                const Single found = attention.single(load_of(load), cores);
                return std::tuple(found.alone, found.held, found.traffic);
            },
            "load"_a, "cores"_a)
        .def(
            "computing",
            [](const PlainAttention& attention, nb::handle load, uint32_t cores) {
                return attention.computing(load_of(load), cores);
            },
            "load"_a, "cores"_a);
}

void bind_iteration(nb::module_& m) {
    nb::class_<Iteration>(m, "Iteration")
        .def(nb::new_([](const std::vector<std::pair<std::shared_ptr<Rows>, Asks>>& tables, nb::object attention,
                         std::optional<double> window) {
                 std::vector<Table> every;
                 for (const auto& [rows, asks] : tables) every.push_back({rows, asks});
                 return std::make_shared<Iteration>(std::move(every), attention_of(std::move(attention)), window);
             }),
             "tables"_a, "attention"_a, "window"_a.none())
        .def(
            "seconds",
            [](const Iteration& self, uint32_t cores, nb::handle load) { return self.seconds(cores, load_of(load)); },
            "cores"_a, "load"_a)
        .def(
            "alone",
            [](const Iteration& self, nb::handle load, nb::handle seconds) {
                self.alone(load_of(load), Column(seconds, true).all());
            },
            "load"_a, "seconds"_a)
        .def(
            "split",
            [](const Iteration& self, nb::handle prefill, nb::handle decode, nb::handle first, nb::handle second) {
                const Column one(first, true), two(second, true);
                check_lengths({&one, &two});
                self.split(load_of(prefill), load_of(decode), one.all(), two.all());
            },
            "prefill"_a, "decode"_a, "first"_a, "second"_a)
        .def(
            "beside",
            [](const Iteration& self, uint32_t prefill_cores, nb::handle prefill, uint32_t decode_cores,
               nb::handle decode) {
                return self.beside(prefill_cores, load_of(prefill), decode_cores, load_of(decode));
            },
            "prefill_cores"_a, "prefill"_a, "decode_cores"_a, "decode"_a)
        .def(
            "steps",
            [](const Iteration& self, uint32_t cores, nb::handle load, nb::handle seconds) {
                self.steps(cores, load_of(load), Column(seconds, true).all());
            },
            "cores"_a, "load"_a, "seconds"_a);
}

}  // namespace

void bind_forecast(nb::module_& m) {
    m.def(
        "sums",
        [](nb::handle fresh, nb::handle cached, nb::handle copies, std::optional<double> window) {
            return to_python(sums(fresh, cached, copies, window));
        },
        "new"_a, "cached"_a, "copies"_a, "window"_a.none());
    m.def("busy", &busy, "alone"_a, "held"_a, "met"_a);
    m.def("part_met", &part_met, "demand"_a);
    bind_rows(m);
    bind_attention(m);
    bind_iteration(m);
}

}  // namespace flexnpu
