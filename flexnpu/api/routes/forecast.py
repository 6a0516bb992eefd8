# SPDX-License-Identifier: Apache-2.0
"""/api/v1/forecast: what if"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Annotated, Final

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request

from flexnpu.api import problems
from flexnpu.api.routes import router_of
from flexnpu.api.what_if import ForecastAnswer, ForecastModels, ForecastQuestion, ShippedModel
from flexnpu.errors import InvalidValue, Unavailable

if TYPE_CHECKING:  # slow to load: the first question loads it
    from flexnpu.forecast import Forecaster
    from flexnpu.forecast.batch import Request as Requested

router = router_of("forecast")

MOST_TOKENS: Final = 1 << 24  # of one request
MOST_REQUESTS: Final = 65_536
MOST_WAITING: Final = 16


class Forecasts:
    """One is worked out at a time, in a thread, while the daemon goes on; some may wait."""

    def __init__(self) -> None:
        self._one = CapacityLimiter(1)
        self._waiting = 0

    async def ask(self, question: ForecastQuestion) -> ForecastAnswer:
        if self._waiting >= MOST_WAITING:
            raise Unavailable(
                f"{MOST_WAITING} forecasts wait already", next_step="try again in a second", limit=MOST_WAITING
            )
        self._waiting += 1
        try:
            return await to_thread.run_sync(_answer, question, limiter=self._one)
        finally:
            self._waiting -= 1


async def _forecasts(request: Request) -> Forecasts:
    found: Forecasts = request.app.state.forecasts
    return found


@router.post("", responses=problems.of(503))
async def forecast(asked: Annotated[Forecasts, Depends(_forecasts)], question: ForecastQuestion) -> ForecastAnswer:
    """How long an iteration takes on some cores, as `flexnpu forecast` says it. Changes nothing."""
    return await asked.ask(question)


@router.get("")
async def list_models() -> ForecastModels:
    """The models that forecasts can be asked for."""
    return _shipped()


@cache
def _shipped() -> ForecastModels:
    from flexnpu.llm import ModelShape  # noqa: PLC0415 - slow to load
    from flexnpu.llm.presets import SHIPPED, available  # noqa: PLC0415

    shapes = {name: ModelShape.from_config(SHIPPED / f"{name}.json") for name in available()}
    return ForecastModels(
        items=[ShippedModel(name=name, architecture=each.architecture) for name, each in shapes.items()]
    )


def _answer(question: ForecastQuestion) -> ForecastAnswer:
    from flexnpu.forecast.command import as_dict, ask, parse_decode, parse_prefill  # noqa: PLC0415 - slow to load

    prompts = [parse_prefill(text) for text in question.prefill]
    running = [parse_decode(text) for text in question.decode]
    _check_size([*prompts, *running])
    forecaster = _forecaster(
        question.model.casefold(),
        question.soc,
        question.tensor_parallel,
        question.expert_parallel,
        question.weight_dtype,
        question.kv_dtype,
    )
    result = ask(forecaster, prompts, running, cores=question.cores, beside_cores=question.beside_cores)
    return ForecastAnswer.model_validate(as_dict(result, forecaster))


@lru_cache(maxsize=8)
def _forecaster(  # noqa: PLR0913, PLR0917 - what names one
    model: str, soc: str, tensor: int, expert: int, weights: str | None, kv: str | None
) -> Forecaster:
    from flexnpu.forecast import Forecaster  # noqa: PLC0415 - slow to load
    from flexnpu.hardware import load_soc  # noqa: PLC0415
    from flexnpu.llm import ModelShape, Parallel  # noqa: PLC0415
    from flexnpu.llm.presets import SHIPPED, available  # noqa: PLC0415

    # Names alone: who asks from afar has no business with files of this host.
    files = {name.casefold(): SHIPPED / f"{name}.json" for name in available()}
    if model not in files:
        raise InvalidValue(f"model {model!r} does not ship", next_step=f"use one of {', '.join(files)}")
    shape = ModelShape.from_config(files[model], weights=weights, kv=kv)
    return Forecaster(shape, load_soc(soc), None, Parallel(tensor, expert))


def _check_size(requests: Sequence[Requested]) -> None:
    count = sum(each.copies for each in requests)
    if count > MOST_REQUESTS:
        raise InvalidValue(
            f"{count} requests are too many", next_step=f"ask for at most {MOST_REQUESTS}", limit=MOST_REQUESTS
        )
    longest = max((each.new + each.cached for each in requests), default=0)
    if longest > MOST_TOKENS:
        raise InvalidValue(
            f"{longest} tokens are too many", next_step=f"ask for at most {MOST_TOKENS}", limit=MOST_TOKENS
        )
