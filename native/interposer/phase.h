// SPDX-License-Identifier: Apache-2.0
// Which phase a program is in, told from its operators: attention calls with their lengths, rows of products, graph
// replays. A pure state machine: no clock, no lock, no allocation; whoever feeds it holds a lock around it.
//
// A step is one forward pass. It begins at an operator that comes once in a pass, before the first layer (the
// embedding); in a stream without one, where the lengths change after some layers. It ends when as many attention
// calls were seen as in the two steps before, or else where the next one begins.
#pragma once

#include <stdint.h>

#include "flexnpu/page.h"

namespace flexnpu {

// One attention call: how many new tokens of how many sequences look at how many tokens.
class Attention {
  public:
    // Sequences more, all alike; tokens of each with what it looks at, new ones included (0: not known).
    void add(uint32_t tokens, uint32_t context, uint32_t times = 1);

    bool empty() const { return requests == 0; }

    uint32_t requests = 0;
    uint32_t brief = 0;  // sequences of one to kBrief tokens with a past: decoding, or the end of a prompt in chunks
    uint32_t lone = 0;   // of one token without a past: beside decoding ones they pad a batch
    uint64_t tokens = 0;
    uint64_t context = 0;
    uint64_t longest = 0;
    uint32_t each = 0;          // tokens of each sequence, 0 when they differ
    uint32_t each_context = 0;  // its context, likewise
    uint64_t queries = 0;       // hash of the tokens of each sequence: calls that agree are about the same sequences
    uint64_t signature = 0;     // hash of all that add() was told

    static constexpr uint32_t kBrief = 8;
    static constexpr uint32_t kKept = 8;
    // The last ones of either kind, since a scheduler puts prompts behind: newest at (count - 1) % kKept.
    struct Sequence {
        uint32_t place, past, tokens;
    };
    Sequence briefs[kKept] = {};
    Sequence prompts[kKept] = {};
    uint32_t prompt_count() const { return requests - brief; }
    uint32_t padding() const { return brief > 0 ? lone : 0; }
};

// One matrix product. Columns are 0 where the right side is weights: rows are then the tokens.
struct Product {
    uint64_t batch, rows, inner, columns;
};

struct Step {
    flexnpu_phase phase;
    uint64_t requests, tokens, context, longest;
    bool graph;
    bool late;  // it was over before the call that told so
};

class PhaseDetector {
  public:
    using Told = void (*)(void* owner, const Step& step);

    // `begun`: a step as far as its calls so far tell, once for each kind of call; null: nobody wants to know.
    void tell(Told ended, Told begun, void* owner) {
        ended_ = ended;
        begun_told_ = begun;
        owner_ = owner;
    }

    // Eager work, in the order of its launches.
    void begin();
    void attention(const Attention& call);
    void product(const Product& product);

    // The same while the graph is captured, its replays, and the calls that change it between replays.
    void captured_begin(uint64_t graph);
    void captured_attention(uint64_t graph, const Attention& call);
    void captured_group(uint64_t graph);
    void replay(uint64_t graph);
    bool has_graphs() const { return has_graphs_; }  // until then a replay tells nothing
    void update(uint64_t graph, const Attention& call);
    void forget(uint64_t graph);

    // Whether a step's end may only be seen when the next one begins: the time of each launch is then of use.
    bool may_be_late() const { return open_ && layers_ == 0; }

    // Whether the next product is of use. In a stream with fused attention only the first of a step is.
    bool wants_products() const { return !fused_ || first_rows_ == 0; }

  private:
    // Calls of one step that have one signature: one per layer.
    struct Part {
        Attention call;
        uint32_t launches;
    };
    static constexpr uint32_t kParts = 4;
    struct Graph {
        uint64_t key;
        Part parts[kParts];
        uint32_t count;
        bool begins;
        uint32_t groups;   // tasks that may be changed between replays
        uint32_t updates;  // of them since the last replay
    };
    static constexpr uint32_t kGraphs = 256;

    // What the prompts of one step leave for the next: where they ended, and which of them came last.
    struct Prompts {
        uint32_t ends[Attention::kKept];
        uint32_t count;
        uint32_t last_place, last_end;
        void add(const Attention::Sequence& sequence);
        bool ended_at(uint32_t context) const;
    };

    bool whole() const;
    bool repeats(const Attention& call) const;
    void start(bool graph);
    void add(const Attention& call, uint32_t launches);
    void scores_with_values(uint64_t queries, uint64_t keys);
    Attention of_sequences(const Attention& call) const;
    void next(const Attention& call, uint32_t launches, bool graph);
    void end(bool late);
    void end_at_next();
    void learn();
    bool counts(uint32_t part) const;
    Step summary();
    Step so_far(Prompts* prompts, uint32_t* width) const;
    Step rows_summary() const;
    flexnpu_phase classify(const Attention& call, Prompts* prompts, uint32_t* width) const;
    bool is_prompt(const Attention::Sequence& brief) const;
    void learn_budget(const Attention& call);
    Graph* find(uint64_t graph);
    Graph& find_or_make(uint64_t graph);

    Told ended_ = nullptr, begun_told_ = nullptr;
    void* owner_ = nullptr;

    Part parts_[kParts] = {};
    uint32_t part_count_ = 0;
    bool open_ = false;    // a step is under way
    bool begun_ = false;   // its beginning was seen, its first attention not yet
    bool marked_ = false;  // steps have a beginning that can be seen
    bool graph_ = false;   // the step under way is a replay
    bool has_graphs_ = false;
    bool fused_ = false;
    uint32_t fused_idle_ = 0;  // steps since fused attention was seen
    uint32_t layers_ = 0;      // attention calls of a part in a whole step, 0 while not sure
    uint32_t candidate_ = 0;
    uint64_t awaited_ = 0;  // the graph whose updates belong to the step under way
    uint32_t width_ = 0;    // of speculative decoding, when it was seen
    Prompts prompts_ = {};  // of the last step
    uint64_t tokens_ = 0;   // of the last step
    uint64_t budget_ = 0;   // tokens of a step that cut a prompt, 0 while none was seen
    uint64_t first_rows_ = 0, last_rows_ = 0;
    Product last_product_ = {};

    Graph graphs_[kGraphs] = {};
    uint32_t graphs_used_ = 0;
};

}  // namespace flexnpu
