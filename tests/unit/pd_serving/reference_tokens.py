# SPDX-License-Identifier: Apache-2.0
"""What transformers' generate gives, and what the engine's iterations give."""

import torch
from pd_serving.batch import Batch
from pd_serving.cache import PagedCache
from pd_serving.model import Model
from pd_serving.schedule import Scheduler, Sequence

CPU = torch.device("cpu")
NO_EOS = frozenset()


def generate(reference, prompt, count):
    ids = torch.tensor([prompt])
    with torch.no_grad():
        out = reference.generate(
            ids,
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            eos_token_id=None,
            attention_mask=torch.ones_like(ids),
        )
    return out[0, len(prompt) :].tolist()


def prompts(count):
    """Of many lengths, around those of the cache's blocks."""
    generator = torch.Generator().manual_seed(1)
    lengths = (1, 7, 127, 128, 130, 40, 300, 41, 3, 256)[:count]
    return [torch.randint(0, 256, (length,), generator=generator).tolist() for length in lengths]


def sequence(number, prompt, count):
    return Sequence(number, pending=prompt, reserve=len(prompt) + count, left=count, ignore_eos=True)


def serve(weights, budget, asked, count, blocks=24):
    """Tokens of each prompt, and what every iteration computed: (number, tokens) of each sequence in it."""
    model, cache = Model(weights, CPU), PagedCache(weights, blocks)
    scheduler = Scheduler(cache, budget)
    for number, prompt in enumerate(asked):
        scheduler.add(sequence(number, prompt, count))
    tokens, iterations = [[] for _ in asked], []
    while work := scheduler.next():
        iterations.append([(each.number, new) for each, new in work])
        ids = model.launch(Batch.of(work), cache).wait()
        for each, token in zip(scheduler.done(work), ids, strict=True):
            tokens[each.number].append(token)
            if each.got(token, 0.0, NO_EOS):
                scheduler.drop(each)
    assert cache.free == blocks
    return tokens, iterations
