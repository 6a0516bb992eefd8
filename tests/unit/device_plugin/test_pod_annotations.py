# SPDX-License-Identifier: Apache-2.0
"""From annotations to quotas, without a cluster and without a daemon."""

from __future__ import annotations

from typing import Any

import pytest

from device_plugin.cluster.annotations import Asked, read, texts_of
from device_plugin.cluster.quotas import carry_out, sentence
from device_plugin.cluster.status import Outcome, outcomes_of, text_of
from flexnpu.client import QuotaState, VNpu
from flexnpu.errors import InvalidValue, NoDaemon, OverQuota

FIELDS = {"name": "k8s-0-c0", "device": 0, "devices": [0], "memory_bytes": 2**34, "tenants": 1}
FIELDS |= {"granted_cores": 6, "granted_revision": 1, "applied_revision": 1}


class Quotas:
    """A daemon's part: one vNPU on a device of 24 cores."""

    def __init__(self, **fields: Any) -> None:
        told = {"id": 7, "cores": 6, "burst_cores": 6, "phase": None, "revision": 1, "applied": True}
        self.told = VNpu.model_validate({**FIELDS, **told, **fields})
        self.asked: list[dict[str, Any]] = []
        self.free = 18
        self.gone = False

    def vnpu(self, name: str) -> VNpu:
        assert name == self.told.name
        return self.told

    def set_phase(self, name: str, phase: str | None) -> VNpu:
        self.asked.append({"phase": phase})
        return self._set(phase=phase)

    def set_quota(self, name: str, *, cores: int | None = None, wait: float | None = None, **limits: Any) -> QuotaState:
        if self.gone:
            raise NoDaemon("no daemon listens")
        given = {**({"cores": cores} if cores else {}), **limits}
        self.asked.append(given)
        if cores and cores > self.told.cores + self.free:
            raise OverQuota(f"{cores} cores are too many", next_step=f"ask for at most {self.told.cores + self.free}")
        self._set(**given)
        fields = {"memory_bytes": 1, "vector_cores": None, "share_percent": None, "fixed_share": False, "priority": 0}
        fields |= {"vnpu": name, "cores": self.told.cores, "burst_cores": None, "applied": True}
        return QuotaState.model_validate({**fields, "desired_revision": 2, "observed_revision": 2})

    def _set(self, **fields: Any) -> VNpu:
        fields["burst_cores"] = fields.get("burst_cores") or fields.get("cores") or self.told.cores
        self.told = self.told.model_copy(update={**fields, "revision": self.told.revision + 1})
        return self.told


def carry(quotas: Quotas, past: Outcome | None = None, **texts: str) -> Outcome | None:
    return carry_out(quotas, quotas.told, {key.replace("_", "-"): value for key, value in texts.items()}, past)


def test_an_annotation_of_a_container_goes_before_that_of_the_pod():
    annotations = {"flexnpu.io/cores": "6", "flexnpu.io/cores.main": " 8", "flexnpu.io/phase": "decode", "other": "x"}
    assert texts_of(annotations, "main") == {"cores": "8", "phase": "decode"}
    assert texts_of(annotations, "sidecar") == {"cores": "6", "phase": "decode"}


def test_annotations_are_read_with_their_units():
    texts = {"cores": "8", "burst": "none", "phase": "none", "service": "chat", "slo-ttft": "1.5s", "slo-itl": "50ms"}
    assert read(texts) == Asked(cores=8, burst=0, phase="", service="chat", ttft="1.5s", itl="50ms")


@pytest.mark.parametrize(
    ("key", "text"),
    [("cores", "0"), ("cores", "six"), ("cores", "70000"), ("burst", "-1"), ("phase", "both"), ("slo-itl", "50")],
)
def test_what_cannot_be_read_is_named_with_what_can(key: str, text: str):
    with pytest.raises(InvalidValue, match=rf"flexnpu.io/{key} '{text}'.*; give "):
        read({"service": "chat", key: text})


def test_targets_without_a_service_are_nobodys():
    with pytest.raises(
        InvalidValue, match=r"flexnpu.io/slo-itl is of a service, and none is named; add flexnpu.io/service"
    ):
        read({"slo-itl": "50ms"})


def test_nothing_is_asked_for_a_pod_that_says_nothing():
    quotas = Quotas()
    assert carry(quotas) is None
    assert quotas.asked == []


def test_annotations_become_the_quota_and_its_revision_is_told():
    quotas = Quotas()
    outcome = carry(quotas, cores="8", burst="16", phase="decode")
    assert quotas.asked == [{"phase": "decode"}, {"cores": 8, "burst_cores": 16}]
    assert outcome is not None
    assert (outcome.cores, outcome.burst, outcome.phase, outcome.revision) == (8, 16, "decode", 3)
    assert outcome.settled
    assert sentence(outcome) == "vNPU k8s-0-c0: 8 cores, up to 16 with idle ones, phase decode (revision 3)"


def test_what_was_observed_is_not_carried_out_again():
    quotas = Quotas()
    outcome = carry(quotas, cores="8")
    quotas.set_quota("k8s-0-c0", cores=10)  # a controller, or a person
    quotas.asked.clear()
    assert carry(quotas, outcome, cores="8") == outcome
    after = carry(quotas, outcome, cores="8", phase="prefill")
    assert quotas.asked == [{"phase": "prefill"}], "cores that were moved since stay where they are"
    assert after is not None
    assert after.cores == 10


def test_an_annotation_that_is_taken_away_gives_back_what_was_before():
    quotas = Quotas()
    outcome = carry(quotas, cores="8", burst="16", phase="decode")
    after = carry(quotas, outcome)
    assert after is not None
    assert (after.cores, after.burst, after.phase, after.observed) == (6, None, None, {})


def test_a_refusal_is_told_and_tried_again_when_the_node_has_changed():
    quotas = Quotas(applied=True)
    refused = carry(quotas, cores="30")
    assert refused is not None
    assert (refused.cores, refused.error, refused.retry) == (6, "30 cores are too many; ask for at most 24", True)
    assert not refused.settled
    quotas.free = 24
    after = carry(quotas, refused, cores="30")
    assert after is not None
    assert (after.cores, after.error) == (30, "")


def test_where_no_pod_may_grow_it_may_shrink_and_come_back():
    quotas = Quotas()

    def only(past: Outcome | None, **texts: str) -> Outcome:
        outcome = carry_out(quotas, quotas.told, texts, past, grow=False)
        assert outcome is not None
        return outcome

    refused = only(None, cores="7")
    assert (refused.cores, refused.settled) == (6, True)
    assert "7 is more than the 6 that the container was given" in refused.error
    shrunk = only(refused, cores="2", burst="12")
    assert (shrunk.cores, shrunk.burst) == (2, 12)
    assert only(shrunk, cores="6").cores == 6


def test_what_cannot_be_read_waits_for_another_text():
    quotas = Quotas()
    refused = carry(quotas, cores="many", phase="decode")
    assert refused is not None
    assert refused.settled
    assert quotas.asked == []
    after = carry(quotas, refused, cores="7", phase="decode")
    assert after is not None
    assert (after.cores, after.phase) == (7, "decode"), "the phase was not carried out with the refused cores"


def test_a_daemon_that_is_gone_is_no_refusal():
    quotas = Quotas()
    quotas.gone = True
    with pytest.raises(NoDaemon):
        carry(quotas, cores="8")


def test_a_container_with_another_vnpu_begins_anew():
    first = carry(Quotas(), cores="8")
    later = Quotas(id=8)
    again = carry(later, first, cores="8")
    assert later.asked == [{"cores": 8}]
    assert again is not None
    assert again.id == 8


def test_a_change_that_is_not_in_force_yet_is_followed():
    quotas = Quotas(applied=False)
    outcome = carry(quotas, cores="8")
    assert outcome is not None
    assert not outcome.settled
    quotas.told = quotas.told.model_copy(update={"applied": True})
    quotas.asked.clear()
    after = carry(quotas, outcome, cores="8")
    assert quotas.asked == []
    assert after is not None
    assert after.settled


def test_the_status_is_read_as_it_was_written_and_garbage_is_none():
    outcome = carry(Quotas(), cores="8")
    assert outcome is not None
    assert outcomes_of({"flexnpu.io/status": text_of({"main": outcome})}) == {"main": outcome}
    for text in ("", "{}", "[1]", '{"main": {"vnpu": 3}}', "\x00"):
        assert outcomes_of({"flexnpu.io/status": text}) == {}
