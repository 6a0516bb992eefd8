// SPDX-License-Identifier: Apache-2.0
// Phase one says what an operator will do, phase two that it does: the first is kept by executor, so that a hit in
// torch_npu's executor cache, which has no phase one, tells as much. Products are looked at only while the program has
// shown no fused attention.
//
// Lock order: guard, then that of a set of hits; arguments are read before.
#include "entries/observe.h"

#include <string.h>

#include "clock.h"
#include "entries/arguments.h"
#include "entries/hits.h"
#include "entries/wrap.h"
#include "lock.h"
#include "phase.h"
#include "recorder.h"

namespace flexnpu {
namespace {

struct Places {
    int8_t key;
    bool list;
    int8_t queries, keys, blocks, layout;
};

struct Row {
    Tells tells = Tells::nothing;
    Places places = {};
};

struct Table {
    Row rows[operator_count];
};

constexpr Table make_table() {
    Table table{};
#define FLEXNPU_ATTENTION(name, key, list, queries, keys, blocks, layout) \
    table.rows[operator_##name] = {Tells::attention, {key, list != 0, queries, keys, blocks, layout}};
#define FLEXNPU_PRODUCT(name, left, right) \
    table.rows[operator_##name] = {Tells::product, {left, false, right, -1, -1, -1}};
#define FLEXNPU_BEGIN(name) table.rows[operator_##name] = {Tells::begin, {-1, false, -1, -1, -1, -1}};
#include "phase.def"
    return table;
}
constexpr Table kTable = make_table();

// --- one phase one ---

uint64_t word(const flexnpu_phase_one& call, int place) {
    if (place < 0) return 0;
    const auto at = static_cast<uint32_t>(place);
    return at < call.registers ? call.integers[at] : call.stack[at - call.registers];
}

template <typename Pointer>
Pointer argument(const flexnpu_phase_one& call, int place) {
    return reinterpret_cast<Pointer>(word(call, place));
}

// Where a layout has its batch and its tokens. In a packed one the sequences lie end to end, and the lengths are sums.
struct Layout {
    const char* name;
    int batch, tokens;
    bool packed;
};
constexpr Layout kLayouts[] = {{"BSH", 0, 1, false}, {"BSND", 0, 1, false}, {"BNSD", 0, 2, false}, {"SBH", 1, 0, false},
                               {"TND", -1, 0, true}, {"NTD", -1, 1, true},  {"NSD", -1, 1, false}};

// "TND_NTD": the second is the result's.
const Layout* layout_of(const char* text) {
    if (text == nullptr) return nullptr;
    const size_t length = strcspn(text, "_");
    for (const Layout& each : kLayouts) {
        if (strlen(each.name) == length && memcmp(each.name, text, length) == 0) return &each;
    }
    return nullptr;
}

// Lengths as the caller gave them: one for all, one for each, or running sums.
class Lengths {
  public:
    void read(const aclIntArray* array, bool sums) {
        values_of(array, &values_);
        sums_ = sums;
    }
    bool given() const { return values_.count > 0; }
    uint32_t count() const { return values_.count; }
    uint32_t of(uint32_t sequence) const {
        const uint32_t last = values_.count - 1;
        const uint32_t at = sequence < last ? sequence : last;
        const int32_t before = sums_ && at > 0 ? values_.at[at - 1] : 0;
        return values_.at[at] > before ? static_cast<uint32_t>(values_.at[at] - before) : 0;
    }

  private:
    Values values_;
    bool sums_ = false;
};

struct Tiled {
    uint64_t executor;
    Tells tells;
    union {
        Attention call;
        Product product;
    };
    constexpr Tiled() : executor(0), tells(Tells::nothing), product() {}
};

Product product_of(const flexnpu_phase_one& call, const Places& places) {
    Shape left, right;
    if (!shape_of(argument<const aclTensor*>(call, places.key), &left) || left.count < 2) return {};
    Product product{1, 1, left.at(static_cast<int>(left.count) - 1), 0};
    for (uint32_t i = 0; i + 1 < left.count; ++i) product.rows *= left.at(static_cast<int>(i));
    if (!shape_of(argument<const aclTensor*>(call, places.queries), &right) || right.count < 3) return product;
    product.rows = left.at(static_cast<int>(left.count) - 2);
    for (uint32_t i = 0; i + 2 < left.count; ++i) product.batch *= left.at(static_cast<int>(i));
    product.columns = right.at(static_cast<int>(right.count) - 1);
    return product;
}

uint64_t keys_in(const flexnpu_phase_one& call, const Places& places, const Layout& layout) {
    const auto* key = places.list ? first_of(argument<const aclTensorList*>(call, places.key))
                                  : argument<const aclTensor*>(call, places.key);
    Shape shape;
    return shape_of(key, &shape) ? shape.at(layout.tokens) : 0;
}

template <typename Sink>
void each_sequence(const flexnpu_phase_one& call, const Places& places, Sink sink) {
    const Layout* layout = layout_of(argument<const char*>(call, places.layout));
    Shape query;
    if (layout == nullptr || !shape_of(argument<const aclTensor*>(call, 0), &query)) return;
    const bool paged = word(call, places.blocks) != 0;
    Lengths queries, keys;
    queries.read(argument<const aclIntArray*>(call, places.queries), layout->packed);
    keys.read(argument<const aclIntArray*>(call, places.keys), layout->packed && !paged);
    const auto rows = static_cast<uint32_t>(query.at(layout->tokens));
    const auto batch = static_cast<uint32_t>(layout->batch < 0 ? 1 : query.at(layout->batch));
    const uint32_t sequences = layout->packed && queries.given() ? queries.count() : batch;
    // Keys that nobody counts: as many as the tokens when packed, a dimension of the tensor otherwise.
    const bool own_keys = !keys.given() && !paged;
    const auto key_rows = static_cast<uint32_t>(own_keys && !layout->packed ? keys_in(call, places, *layout) : 0);
    if (!queries.given() && !keys.given()) {
        return sink(rows, own_keys && layout->packed ? rows : key_rows, sequences);
    }
    for (uint32_t i = 0; i < sequences; ++i) {
        const uint32_t given = queries.given() ? queries.of(i) : rows;
        const uint32_t tokens = layout->packed || given < rows ? given : rows;
        const uint32_t context = keys.given() ? keys.of(i) : own_keys && layout->packed ? tokens : key_rows;
        if (keys.given() && context == 0) continue;  // padding of a batch
        sink(tokens, context, 1);
    }
}

// --- what is known of this process ---

// Executors and keys of the executor cache, and what they will do. In sets of eight, where one that was not used lately
// gives way: its next launch tells nothing.
class Executors {
  public:
    void put(uint64_t key, const Tiled& tiled) {
        const uint32_t set = set_of(key);
        const uint32_t at = set * kWays + place(set, key);
        keys_[at] = key;
        entries_[at] = tiled;
    }
    const Tiled* find(uint64_t key) {
        const uint32_t set = set_of(key);
        for (uint32_t i = 0; i < kWays; ++i) {
            if (key == 0 || keys_[set * kWays + i] != key) continue;
            used_[set] |= static_cast<uint8_t>(1u << i);
            return &entries_[set * kWays + i];
        }
        return nullptr;
    }

  private:
    static constexpr uint32_t kWays = 8;
    static constexpr uint32_t kSets = 256;
    static uint32_t set_of(uint64_t key) { return static_cast<uint32_t>(((key >> 1) * 0x9e3779b97f4a7c15ull) >> 56); }
    uint32_t place(uint32_t set, uint64_t key) {
        for (uint32_t i = 0; i < kWays; ++i) {
            if (keys_[set * kWays + i] == key) return i;
        }
        uint8_t& turn = turns_[set];
        for (;; turn = static_cast<uint8_t>((turn + 1) % kWays)) {
            const auto bit = static_cast<uint8_t>(1u << turn);
            if ((used_[set] & bit) == 0) break;
            used_[set] = static_cast<uint8_t>(used_[set] & ~bit);
        }
        used_[set] |= static_cast<uint8_t>(1u << turn);
        return turn;
    }
    alignas(64) uint64_t keys_[kSets * kWays] = {};
    uint8_t used_[kSets] = {};
    uint8_t turns_[kSets] = {};
    Tiled entries_[kSets * kWays] = {};
};

// Which keys were ever put: most finds are of operators that tell nothing, and end here.
class Keys {
  public:
    void put(uint64_t key) { word(key).fetch_or(bit(key), std::memory_order_relaxed); }
    bool may_have(uint64_t key) { return (word(key).load(std::memory_order_relaxed) & bit(key)) != 0; }

  private:
    static constexpr uint32_t kWords = 1024;
    std::atomic<uint64_t>& word(uint64_t key) { return words_[(key >> 6) % kWords]; }
    static uint64_t bit(uint64_t key) { return uint64_t{1} << (key % 64); }
    std::atomic<uint64_t> words_[kWords] = {};
};

struct Observer {
    Lock guard;
    Executors executors;
    Hits hits;
    Keys keys;
    PhaseDetector detector;
    Recorder recorder;
    const flexnpu_control_page* control = nullptr;
    uint64_t launched_ns = 0;  // the newest launch that told something
    std::atomic<bool> wants_products{true};
    std::atomic<bool> has_graphs{false};
    std::atomic<bool> has_hits{false};
    std::atomic<int> captures{0};  // under way
    std::atomic<int> updates{0};   // streams that change a graph's tasks
    PointerMap groups;             // task group to its graph
    PointerMap updated;            // stream to the graph whose tasks it changes
};
constinit Observer observer;

flexnpu_iteration as_reported(const Step& step, uint64_t at_ns) {
    const uint32_t declared = load_word(observer.control->phase, std::memory_order_relaxed);
    const bool known = declared > FLEXNPU_PHASE_IDLE && declared <= FLEXNPU_PHASE_MIXED;
    const uint64_t phase = known ? declared : static_cast<uint64_t>(step.phase);
    return {0, phase, step.requests, step.tokens, step.context, step.longest, step.graph ? 1u : 0u, at_ns};
}

void publish(void*, const Step& step) {
    tenant.report.iteration(as_reported(step, step.late ? observer.launched_ns : now_ns()));
}

void publish_begun(void*, const Step& step) {
    const bool watched = load_word(observer.control->watched, std::memory_order_relaxed) != 0;
    tenant.report.begun(as_reported(step, now_ns()), watched);
}

// The graph that the stream is captured into, 0 for none. Asked only while a capture is under way.
uint64_t captured_into(aclrtStream stream) {
    static constinit std::atomic<void*> cache;
    void* ask = cache.load(std::memory_order_acquire);
    if (ask == nullptr) {
        ask = find_real(Library::runtime, "aclmdlRICaptureGetInfo");
        cache.store(ask, std::memory_order_release);
    }
    aclmdlRICaptureStatus status = ACL_MODEL_RI_CAPTURE_STATUS_NONE;
    aclmdlRI graph = nullptr;
    if (ask == nullptr) return 0;
    const auto get_info = reinterpret_cast<decltype(&::aclmdlRICaptureGetInfo)>(ask);
    if (get_info(stream, &status, &graph) != ACL_SUCCESS || status != ACL_MODEL_RI_CAPTURE_STATUS_ACTIVE) return 0;
    return reinterpret_cast<uint64_t>(graph);
}

uint64_t same(uint64_t found, uint64_t) { return found; }

uint64_t changed_by(aclrtStream stream) { return observer.updated.update(reinterpret_cast<uint64_t>(stream), same, 0); }

// Others read it all the time.
void set(std::atomic<bool>& flag, bool value) {
    if (flag.load(std::memory_order_relaxed) != value) flag.store(value, std::memory_order_relaxed);
}

// Runs the change of the detector under the lock.
template <typename Change>
void feed(Change change) {
    const Held held(observer.guard);
    change(observer.detector);
    if (observer.detector.may_be_late()) observer.launched_ns = now_ns();
    set(observer.wants_products, observer.detector.wants_products());
    set(observer.has_graphs, observer.detector.has_graphs());
}

void feed_eager(PhaseDetector& detector, const Tiled& tiled) {
    if (tiled.tells == Tells::attention) {
        detector.attention(tiled.call);
    } else {
        detector.product(tiled.product);
    }
}

void record_tiled(const flexnpu_phase_one& call, const Row& row, const Tiled& tiled) {
    const Recorder& to = observer.recorder;
    if (tiled.tells == Tells::attention) {
        Sequences text;
        each_sequence(call, row.places,
                      [&text](uint32_t tokens, uint32_t context, uint32_t times) { text.add(tokens, context, times); });
        to.line("tiled %lx attention%s", tiled.executor, text.text());
    } else {
        const Product& made = tiled.product;
        to.line("tiled %lx product %lu %lu %lu %lu", tiled.executor, made.batch, made.rows, made.inner, made.columns);
    }
}

void record_launch(uint64_t executor, uint64_t graph, uint64_t changed) {
    const Recorder& to = observer.recorder;
    if (changed != 0) {
        to.line("update %lx %lx", changed, executor);
    } else if (graph != 0) {
        to.line("captured %lx launch %lx", graph, executor);
    } else {
        to.line("launch %lx", executor);
    }
}

// Of the thread: the key that its next phase one is kept under. Odd and with the highest bit, as no executor's address
// and no operator's name is.
__thread uint64_t next_key;
uint64_t as_key(uint64_t hash) { return hash == 0 ? 0 : (hash * 0x9e3779b97f4a7c15ull) | (uint64_t{1} << 63) | 1; }

void begin(uint64_t graph) {
    if (observer.recorder.on())
        graph != 0 ? observer.recorder.line("captured %lx begin", graph) : observer.recorder.line("begin");
    feed([graph](PhaseDetector& detector) { graph != 0 ? detector.captured_begin(graph) : detector.begin(); });
}

}  // namespace

#define FLEXNPU_ACLNN(name, words, reals) kTable.rows[operator_##name].tells,
constinit const Tells operator_tells[operator_count] = {
#include "aclnn.def"
};
#undef FLEXNPU_ACLNN

void start_observing(const flexnpu_control_page* control) {
    observer.control = control;
    observer.detector.tell(publish, publish_begun, nullptr);
    observer.recorder.open();
}

void stop_observing_in_child() {
    observer.guard.release();
    observer.hits.release();
    observer.captures.store(0, std::memory_order_relaxed);
    observer.updates.store(0, std::memory_order_relaxed);
    observer.groups.forget();
    observer.updated.forget();
    forget_arguments_in_child();
}

void observe_tiled(const flexnpu_phase_one& call, uint64_t executor) {
    const Row& row = kTable.rows[call.index];
    if (executor == 0 || row.tells == Tells::begin) return;
    Tiled tiled;
    tiled.executor = executor;
    tiled.tells = row.tells;
    if (row.tells == Tells::attention) {
        tiled.call = Attention();
        each_sequence(call, row.places, [&tiled](uint32_t tokens, uint32_t context, uint32_t times) {
            tiled.call.add(tokens, context, times);
        });
    } else {
        tiled.product = product_of(call, row.places);
    }
    if (observer.recorder.on()) record_tiled(call, row, tiled);
    const Held held(observer.guard);
    observer.executors.put(executor, tiled);
    if (observer.has_hits.load(std::memory_order_relaxed)) observer.hits.forget(executor);
    if (next_key == 0) return;
    observer.executors.put(next_key, tiled);
    observer.keys.put(next_key >> 1);
    if (observer.recorder.on()) observer.recorder.line("kept %lx %lx", next_key, executor);
    next_key = 0;
}

void observe_key(uint64_t key) { next_key = as_key(key); }

uint64_t observed_hit(uint64_t key, aclOpExecutor* executor) {
    key = as_key(key);
    if (__builtin_expect(!observer.keys.may_have(key >> 1), true)) return 0;
    if (observer.recorder.on()) observer.recorder.line("hit %lx %lx", key, reinterpret_cast<uint64_t>(executor));
    return key;
}

void keep_hit(uint64_t executor, uint64_t hit) {
    observer.hits.put(executor, hit);
    set(observer.has_hits, true);
}

namespace {

// Under the guard: what one of the names is known to do, and by which of them.
const Tiled* find_tiled(const Launched& launched, Tells tells, uint64_t* known) {
    uint64_t hit = launched.hit;
    if (hit == 0 && observer.has_hits.load(std::memory_order_relaxed)) hit = observer.hits.find(launched.executor);
    *known = launched.executor;
    const Tiled* found = observer.executors.find(hit != 0 ? hit : launched.executor);
    if (found != nullptr && found->tells == tells) return found;
    *known = launched.name;
    found = observer.executors.find(launched.name);
    return found != nullptr && found->tells == tells ? found : nullptr;
}

}  // namespace

void observe_launch(uint32_t op, const Launched& launched, aclrtStream stream) {
    const Tells tells = operator_tells[op];
    if (tells == Tells::product && !observer.wants_products.load(std::memory_order_relaxed)) return;
    const uint64_t graph = observer.captures.load(std::memory_order_relaxed) > 0 ? captured_into(stream) : 0;
    if (tells == Tells::begin) return begin(graph);
    const uint64_t changed = observer.updates.load(std::memory_order_relaxed) > 0 ? changed_by(stream) : 0;
    feed([&](PhaseDetector& detector) {
        uint64_t known = 0;
        const Tiled* tiled = find_tiled(launched, tells, &known);
        if (tiled == nullptr) return;
        if (observer.recorder.on()) record_launch(known, graph, changed);
        if (changed != 0) return tells == Tells::attention ? detector.update(changed, tiled->call) : void();
        if (graph != 0) return tells == Tells::attention ? detector.captured_attention(graph, tiled->call) : void();
        feed_eager(detector, *tiled);
    });
}

void observe_capture(int change) { observer.captures.fetch_add(change, std::memory_order_relaxed); }

void observe_replay(aclmdlRI graph) {
    const auto key = reinterpret_cast<uint64_t>(graph);
    if (observer.recorder.on()) observer.recorder.line("replay %lx", key);
    if (!observer.has_graphs.load(std::memory_order_relaxed)) return;
    feed([key](PhaseDetector& detector) { detector.replay(key); });
}

void observe_destroyed(aclmdlRI graph) {
    const auto key = reinterpret_cast<uint64_t>(graph);
    if (observer.recorder.on()) observer.recorder.line("destroyed %lx", key);
    const Held held(observer.guard);
    observer.detector.forget(key);
}

void observe_group(aclrtStream stream, aclrtTaskGrp group) {
    const uint64_t graph = captured_into(stream);
    if (graph == 0 || group == nullptr) return;
    observer.groups.put(reinterpret_cast<uint64_t>(group), graph);
    if (observer.recorder.on()) observer.recorder.line("captured %lx group", graph);
    feed([graph](PhaseDetector& detector) { detector.captured_group(graph); });
}

void observe_update_begin(aclrtStream stream, aclrtTaskGrp group) {
    const uint64_t graph = observer.groups.update(reinterpret_cast<uint64_t>(group), same, 0);
    if (graph != 0 && observer.updated.put(reinterpret_cast<uint64_t>(stream), graph)) {
        observer.updates.fetch_add(1, std::memory_order_relaxed);
    }
}

void observe_update_end(aclrtStream stream) {
    if (observer.updated.take(reinterpret_cast<uint64_t>(stream)) != 0) {
        observer.updates.fetch_sub(1, std::memory_order_relaxed);
    }
}

}  // namespace flexnpu
