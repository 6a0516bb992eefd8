# SPDX-License-Identifier: Apache-2.0
"""Controllers and the services they serve as metrics: what each has told of itself last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from flexnpu.api.controller import ControlledService, Controller, DecisionTotals, ServiceTotals
from flexnpu.api.metrics.node import Seen
from flexnpu.api.metrics.rows import Labels, Row, Table, each, info, one
from flexnpu.tenancy import Buckets

_ServiceSeen = tuple[ControlledService, ServiceTotals]

CONTROLLER: Sequence[Row[Controller]] = (
    Row(
        "flexnpu_controller_info",
        "gauge",
        "1",
        "The controller. moves: false where it says only what it would do.",
        info(lambda seen: (seen.mode, str(seen.moves).lower())),
        ("mode", "moves"),
    ),
    Row(
        "flexnpu_controller_live",
        "gauge",
        "0 or 1",
        "1 while it tells its state in time.",
        one(lambda seen: float(seen.live)),
    ),
)
DECISION: Sequence[Row[DecisionTotals]] = (
    Row(
        "flexnpu_controller_decisions_total",
        "counter",
        "decisions",
        "Decisions that differ from the one before. reason: which phases had work (prefill, decode, both, idle), or "
        "pinned by the operator, or safe: something was not observed.",
        one(lambda seen: seen.decisions),
    ),
    Row(
        "flexnpu_controller_moves_total",
        "counter",
        "moves",
        "Decisions that moved cores. result: applied; late: not in force yet when the controller went on; refused by "
        "the daemon; withheld by a controller that moves nothing.",
        each(lambda seen: seen.moves),
        ("result",),
    ),
)


def _errors(seen: _ServiceSeen) -> Mapping[str, Buckets]:
    told = seen[1].forecast_errors
    return {phase: Buckets(each.bounds, each.counts, each.sum) for phase, each in told.items()}


SERVICE: Sequence[Row[_ServiceSeen]] = (
    Row(
        "flexnpu_service_ttft_target_seconds",
        "gauge",
        "device seconds",
        "Target for the time to the first token.",
        one(lambda seen: seen[0].ttft_s),
    ),
    Row(
        "flexnpu_service_itl_target_seconds",
        "gauge",
        "device seconds",
        "Target for the time between two tokens of a request.",
        one(lambda seen: seen[0].itl_s),
    ),
    Row(
        "flexnpu_service_first_tokens_total",
        "counter",
        "tokens",
        "First tokens of requests, as its engines that take prompts count them.",
        one(lambda seen: seen[1].first_tokens),
        modelled=True,
    ),
    Row(
        "flexnpu_service_first_tokens_in_time_total",
        "counter",
        "tokens",
        "Those within the TTFT target: by the engine's histogram, evenly within a bucket.",
        one(lambda seen: seen[1].first_tokens_in_time),
        modelled=True,
    ),
    Row(
        "flexnpu_service_output_tokens_total",
        "counter",
        "tokens",
        "Tokens after the first, as its engines that decode count them, or by their steps.",
        one(lambda seen: seen[1].output_tokens),
        modelled=True,
    ),
    Row(
        "flexnpu_service_output_tokens_in_time_total",
        "counter",
        "tokens",
        "Those within the ITL target; their rate is the goodput in tokens.",
        one(lambda seen: seen[1].output_tokens_in_time),
        modelled=True,
    ),
    Row(
        "flexnpu_service_forecast_error_ratio",
        "histogram",
        "0 and up",
        "How far what came was from its forecast, as a part of that: of an iteration of decode, of the time per token "
        "of prompts. One observation for each decision that is over.",
        each(_errors),
        ("phase",),
        modelled=True,
    ),
)


def _controllers(seen: Seen) -> Iterator[tuple[Labels, Controller]]:
    return (((seen.name, told.name), told) for told in seen.controllers)


# What is told twice under one name is one series, or Prometheus would read nothing at all.


def _decisions(seen: Seen) -> Iterable[tuple[Labels, DecisionTotals]]:
    return {
        (seen.name, told.name, str(totals.device), totals.reason): totals
        for told in seen.controllers
        for totals in told.totals.decisions
    }.items()


def _services(seen: Seen) -> Iterable[tuple[Labels, _ServiceSeen]]:
    found: dict[Labels, _ServiceSeen] = {}
    for told in seen.controllers:
        totals = {each.service: each for each in told.totals.services}
        for service in told.services:
            counted = totals.get(service.name) or ServiceTotals(service=service.name)
            found[seen.name, told.name, service.name] = service, counted
    return found.items()


TABLES = (
    Table("Controllers", ("node", "controller"), CONTROLLER, _controllers),
    Table("Decisions", ("node", "controller", "device", "reason"), DECISION, _decisions),
    Table("Services", ("node", "controller", "service"), SERVICE, _services),
)
