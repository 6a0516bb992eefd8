# SPDX-License-Identifier: Apache-2.0
"""What is known of targets before anything runs: those that no split can keep, and the fewest cores that they take."""

from __future__ import annotations

from flexnpu.forecast import Forecaster, Request
from flexnpu.planner import Split, Targets
from flexnpu.planner.snapshot import PhaseForecaster

# Even these have to be in time: one running request of a usual context, and one prompt of a usual length.
LONE_REQUEST = (Request(1, 4096),)
LONE_PROMPT = (Request(2048, 0),)


def out_of_reach(targets: Targets, forecaster: Forecaster, cores: int) -> list[str]:
    """A line for each target that the forecast misses with all cores for one request alone; none: both can be kept."""
    asked = (
        ("ITL", targets.itl, LONE_REQUEST, f"a token after {LONE_REQUEST[0].cached}"),
        ("TTFT", targets.ttft, LONE_PROMPT, f"a prompt of {LONE_PROMPT[0].new} tokens"),
    )
    return [
        f"the {name} target of {target * 1e3:g} ms is out of reach: {what} takes {seconds * 1e3:.3g} ms alone "
        f"on all {cores} cores; ask for more than that, or it is served as well as it can be"
        for name, target, requests, what in asked
        if (seconds := float(forecaster.alone(requests)[cores])) > target
    ]


def pair_minima(targets: Targets, margin: float, forecaster: PhaseForecaster, part: int) -> Split:
    """Cores that a prefill and a decode engine always keep of about so many, where nobody says: an eighth; and the
    fewest that hold the ITL target for one request, a quarter where that is fewer."""
    seconds = forecaster.alone(LONE_REQUEST)
    most = max(1, part // 4)
    decode = next((cores for cores in range(1, most) if seconds[cores] <= targets.itl * margin), most)
    return Split(max(1, part // 8), decode)
