// SPDX-License-Identifier: Apache-2.0
#include "phase.h"

namespace flexnpu {
namespace {

uint64_t mix(uint64_t hash, uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15ull;
    return hash ^ (hash >> 29);
}

Attention sequences(uint64_t count, uint32_t tokens, uint32_t context) {
    Attention call;
    call.add(tokens, context, static_cast<uint32_t>(count));
    return call;
}

// Of more, a product is no engine's attention.
constexpr uint64_t kMostSequences = 4096;
// Steps without fused attention after which products are looked at again.
constexpr uint32_t kFusedGone = 64;

}  // namespace

void Attention::add(uint32_t of_each, uint32_t its_context, uint32_t times) {
    if (of_each == 0 || times == 0) return;
    each = requests == 0 || each == of_each ? of_each : 0;
    each_context = requests == 0 || each_context == its_context ? its_context : 0;
    queries = mix(queries, uint64_t{of_each} << 32 | times);
    signature = mix(signature, uint64_t{of_each} << 32 | its_context);
    tokens += uint64_t{of_each} * times;
    context += uint64_t{its_context} * times;
    if (its_context > longest) longest = its_context;
    if (of_each == 1 && its_context == 1) lone += times;
    const uint32_t past = its_context > of_each ? its_context - of_each : 0;
    const bool decodes = past > 0 ? of_each <= kBrief : of_each == 1 && its_context == 0;
    const uint32_t kept = times < kKept ? times : kKept;
    for (uint32_t i = times - kept; i < times; ++i) {
        Sequence& into = decodes ? briefs[(brief + i) % kKept] : prompts[(prompt_count() + i) % kKept];
        into = {requests + i, past, of_each};
    }
    requests += times;
    if (decodes) brief += times;
}

// --- where steps begin and end ---

void PhaseDetector::begin() {
    if (open_) {
        end_at_next();
    } else if (begun_ && !fused_ && first_rows_ > 0) {
        if (ended_ != nullptr) ended_(owner_, rows_summary());
    } else if (begun_ && fused_ && ++fused_idle_ > kFusedGone) {
        fused_ = false;
    }
    begun_ = marked_ = true;
    first_rows_ = last_rows_ = 0;
    last_product_ = {};
}

void PhaseDetector::attention(const Attention& call) {
    fused_ = true;
    fused_idle_ = 0;
    next(of_sequences(call), 1, false);
}

// Query heads that share a key are laid side by side as tokens by some callers; the rows of the first product tell.
Attention PhaseDetector::of_sequences(const Attention& call) const {
    const uint64_t times = marked_ && first_rows_ > 0 ? call.tokens / first_rows_ : 1;
    if (times < 2 || call.tokens % first_rows_ != 0 || call.each % times != 0 || call.each_context == 0) return call;
    return sequences(call.requests, static_cast<uint32_t>(call.each / times), call.each_context);
}

void PhaseDetector::next(const Attention& call, uint32_t launches, bool graph) {
    if (call.empty()) return;
    if (open_ && !marked_ && repeats(call)) end_at_next();
    if (!open_) {
        if (marked_ && !begun_ && !graph) {
            // The step was taken to be over too early: it has more layers than those before it.
            layers_ = candidate_ = 0;
            return;
        }
        start(graph);
    }
    add(call, launches);
    if (!graph && whole()) end(false);
}

// Without a visible beginning: whether the call can only be of another step.
bool PhaseDetector::repeats(const Attention& call) const {
    for (uint32_t i = 0; i < part_count_; ++i) {
        if (parts_[i].call.signature == call.signature) return layers_ > 0 && parts_[i].launches >= layers_;
    }
    if (part_count_ == kParts) return true;
    return layers_ > 0 ? parts_[0].launches >= layers_ : parts_[part_count_ - 1].launches > 1;
}

bool PhaseDetector::whole() const {
    if (layers_ == 0 || awaited_ != 0) return false;
    for (uint32_t i = 0; i < part_count_; ++i) {
        if (parts_[i].launches < layers_) return false;
    }
    return true;
}

void PhaseDetector::start(bool graph) {
    open_ = true;
    begun_ = false;
    graph_ = graph;
    part_count_ = 0;
}

void PhaseDetector::add(const Attention& call, uint32_t launches) {
    for (uint32_t i = 0; i < part_count_; ++i) {
        if (parts_[i].call.signature != call.signature) continue;
        parts_[i].launches += launches;
        return;
    }
    if (part_count_ == kParts) return;
    parts_[part_count_++] = {call, launches};
    if (begun_told_ == nullptr) return;
    Prompts prompts{};
    uint32_t width = width_;
    begun_told_(owner_, so_far(&prompts, &width));
}

void PhaseDetector::end(bool late) {
    Step step = summary();
    step.late = late;
    open_ = begun_ = graph_ = false;
    awaited_ = 0;
    if (ended_ != nullptr) ended_(owner_, step);
}

void PhaseDetector::end_at_next() {
    learn();
    end(true);
}

void PhaseDetector::learn() {
    const uint32_t launches = parts_[0].launches;
    layers_ = launches == candidate_ ? launches : 0;
    candidate_ = launches;
}

// --- what a step was ---

void PhaseDetector::Prompts::add(const Attention::Sequence& sequence) {
    const uint32_t end = sequence.past + sequence.tokens;
    if (count == 0 || sequence.place >= last_place) {
        last_place = sequence.place;
        last_end = end;
    }
    ends[count++ % Attention::kKept] = end;
}

bool PhaseDetector::Prompts::ended_at(uint32_t context) const {
    for (uint32_t i = 0; i < count && i < Attention::kKept; ++i) {
        if (ends[i] == context) return true;
    }
    return false;
}

// A few tokens after a past decode, unless they are the end of a prompt that the last step cut. A step cuts a prompt,
// the last one of it, when its tokens are at the scheduler's budget.
bool PhaseDetector::is_prompt(const Attention::Sequence& brief) const {
    if (!prompts_.ended_at(brief.past)) return false;
    if (budget_ > 0) return tokens_ >= budget_ && brief.past == prompts_.last_end;
    return brief.tokens > 1 && brief.tokens != width_;
}

// A prompt that goes on shows that the step before was full.
void PhaseDetector::learn_budget(const Attention& call) {
    const uint32_t kept = call.prompt_count() < Attention::kKept ? call.prompt_count() : Attention::kKept;
    for (uint32_t i = 0; i < kept; ++i) {
        if (call.prompts[i].past > 0 && prompts_.ended_at(call.prompts[i].past)) budget_ = tokens_;
    }
}

flexnpu_phase PhaseDetector::classify(const Attention& call, Prompts* prompts, uint32_t* width) const {
    uint32_t prompt_count = call.prompt_count() - call.padding();
    for (uint32_t i = 0; i < call.prompt_count() && i < Attention::kKept; ++i) {
        if (call.padding() == 0 || call.prompts[i].tokens > 1) prompts->add(call.prompts[i]);
    }
    for (uint32_t i = 0; i < call.brief && i < Attention::kKept; ++i) {
        if (is_prompt(call.briefs[i])) {
            prompts->add(call.briefs[i]);
            ++prompt_count;
        } else if (call.briefs[i].tokens > 1) {
            *width = call.briefs[i].tokens;
        }
    }
    if (prompt_count == 0) return FLEXNPU_PHASE_DECODE;
    return prompt_count + call.padding() == call.requests ? FLEXNPU_PHASE_PREFILL : FLEXNPU_PHASE_MIXED;
}

// Another kind of layer may look at less of the same sequences: the call with the most context counts, once.
bool PhaseDetector::counts(uint32_t part) const {
    const Attention& call = parts_[part].call;
    for (uint32_t i = 0; i < part_count_; ++i) {
        const Attention& other = parts_[i].call;
        if (i == part || other.queries != call.queries) continue;
        if (other.context > call.context || (other.context == call.context && i < part)) return false;
    }
    return true;
}

Step PhaseDetector::summary() {
    Prompts prompts{};
    for (uint32_t i = 0; i < part_count_; ++i) {
        if (counts(i)) learn_budget(parts_[i].call);
    }
    const Step step = so_far(&prompts, &width_);
    prompts_ = prompts;
    tokens_ = step.tokens;
    return step;
}

Step PhaseDetector::so_far(Prompts* prompts, uint32_t* width) const {
    Step step{FLEXNPU_PHASE_IDLE, 0, 0, 0, 0, graph_, false};
    for (uint32_t i = 0; i < part_count_; ++i) {
        if (!counts(i)) continue;
        const Attention& call = parts_[i].call;
        const flexnpu_phase phase = classify(call, prompts, width);
        step.phase = step.phase == FLEXNPU_PHASE_IDLE || step.phase == phase ? phase : FLEXNPU_PHASE_MIXED;
        step.requests += call.requests - call.padding();
        step.tokens += call.tokens - call.padding();
        step.context += call.context - call.padding();
        if (call.longest > step.longest) step.longest = call.longest;
    }
    return step;
}

// --- attention that is not fused, or not seen ---

void PhaseDetector::product(const Product& product) {
    if (product.columns == 0) {
        if (first_rows_ == 0) first_rows_ = product.rows;
        last_rows_ = product.rows;
        return;
    }
    if (fused_) return;
    // Scores of queries and keys, then their product with the values.
    const Product scores = last_product_;
    last_product_ = product;
    if (product.batch != scores.batch || product.rows != scores.rows || product.inner != scores.columns) return;
    last_product_ = {};
    scores_with_values(product.rows, product.inner);
}

void PhaseDetector::scores_with_values(uint64_t queries, uint64_t keys) {
    const uint64_t requests = first_rows_ % queries == 0 && first_rows_ > 0 ? first_rows_ / queries : 1;
    if (requests > kMostSequences) return;
    next(sequences(requests, static_cast<uint32_t>(queries), static_cast<uint32_t>(keys)), 1, false);
}

// The last product is the one with the vocabulary: it has a row for each token that is made.
Step PhaseDetector::rows_summary() const {
    const flexnpu_phase phase = first_rows_ > last_rows_ ? FLEXNPU_PHASE_PREFILL : FLEXNPU_PHASE_DECODE;
    return {phase, last_rows_, first_rows_, 0, 0, false, true};
}

// --- graphs ---

PhaseDetector::Graph* PhaseDetector::find(uint64_t graph) {
    for (Graph& each : graphs_) {
        if (each.key == graph && graph != 0) return &each;
    }
    return nullptr;
}

// The oldest gives way when there are too many: its replays are not seen any more.
PhaseDetector::Graph& PhaseDetector::find_or_make(uint64_t graph) {
    if (Graph* found = find(graph)) return *found;
    has_graphs_ = true;
    for (Graph& each : graphs_) {
        if (each.key != 0) continue;
        each.key = graph;
        return each;
    }
    Graph& oldest = graphs_[graphs_used_++ % kGraphs];
    oldest = {};
    oldest.key = graph;
    return oldest;
}

void PhaseDetector::forget(uint64_t graph) {
    if (Graph* found = find(graph)) *found = {};
    if (awaited_ == graph) awaited_ = 0;
}

void PhaseDetector::captured_begin(uint64_t graph) { find_or_make(graph).begins = true; }

void PhaseDetector::captured_group(uint64_t graph) { ++find_or_make(graph).groups; }

void PhaseDetector::captured_attention(uint64_t graph, const Attention& call) {
    if (call.empty()) return;
    fused_ = true;
    fused_idle_ = 0;
    Graph& into = find_or_make(graph);
    for (uint32_t i = 0; i < into.count; ++i) {
        if (into.parts[i].call.signature != call.signature) continue;
        ++into.parts[i].launches;
        return;
    }
    if (into.count < kParts) into.parts[into.count++] = {call, 1};
}

void PhaseDetector::replay(uint64_t graph) {
    Graph* found = find(graph);
    if (found == nullptr) return;
    if (found->begins) begin();
    if (found->count == 0) return;
    fused_ = true;
    fused_idle_ = 0;
    if (open_ && !marked_) end_at_next();
    for (uint32_t i = 0; i < found->count; ++i) next(found->parts[i].call, found->parts[i].launches, true);
    graph_ = true;
    const bool updated = found->updates >= found->groups;
    found->updates = 0;
    if (!updated) {
        awaited_ = graph;
    } else if (found->begins || !marked_ || whole()) {
        end(false);
    }
}

namespace {

// A change of lengths: of the call about the same queries, or of the only one.
template <typename Part>
void change(Part* parts, uint32_t count, const Attention& call) {
    for (uint32_t i = 0; i < count; ++i) {
        if (count == 1 || parts[i].call.queries == call.queries) {
            parts[i].call = call;
            return;
        }
    }
}

}  // namespace

void PhaseDetector::update(uint64_t graph, const Attention& call) {
    Graph* found = find(graph);
    if (found == nullptr || call.empty()) return;
    change(found->parts, found->count, call);
    ++found->updates;
    if (awaited_ != graph || !open_) return;
    change(parts_, part_count_, call);
    if (found->updates < found->groups) return;
    found->updates = 0;
    end(false);
}

}  // namespace flexnpu
