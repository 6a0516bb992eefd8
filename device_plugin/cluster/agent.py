# SPDX-License-Identifier: Apache-2.0
"""The agent of a node: its pods' annotations become quotas, and its devices a NodeNPU.

Threads: a watch of the node's pods, a stream of the daemon's events, and one worker that does what either calls for.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from device_plugin.cluster.annotations import KEYS, PREFIX, STATUS, Asked, read, texts_of, unknown
from device_plugin.cluster.api_server import ApiError, ApiServer, Object
from device_plugin.cluster.events import Events, node_object
from device_plugin.cluster.identity import pod_of
from device_plugin.cluster.node_npu import Publisher, status_of
from device_plugin.cluster.quotas import carry_out, due, sentence
from device_plugin.cluster.reflector import Key, Reflector, key_of
from device_plugin.cluster.services import Engine, Serving
from device_plugin.cluster.status import Outcomes, outcomes_of, text_of
from device_plugin.cluster.taint import Effect, Taint
from device_plugin.cluster.work import Work
from flexnpu.client import Client, VNpu
from flexnpu.errors import DaemonError, FlexNpuError, InvalidValue

NODE: Key = ("", "NodeNPU")  # in the work, beside the keys of pods
VNPUS: Key = ("", "vNPUs")
TAINT: Key = ("", "taint")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
GATHER_S = 0.05  # events of the daemon come in bursts
REPUBLISH_S = 60.0
HEALTH_EVERY_S = 2.0  # no event says that a device is lost
ANOTHER_POD = {404, 409, 422}  # it is gone, or another of that name has come

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """node: its name in Kubernetes. publish_every_s: the least time between two writes of the NodeNPU. taint: the
    effect of the taint that a node with a lost device gets; None: none. grow: whether a container may have more cores
    than it was given, where its device has them free. serving: the controller's file of services; None: none is
    written."""

    node: str
    publish_every_s: float = 1.0
    taint: Effect | None = None
    grow: bool = True
    serving: Serving | None = None


class Agent:
    """connect: a new connection to the daemon; each thread has its own."""

    def __init__(self, api: ApiServer, connect: Callable[[], Client], options: Options) -> None:
        self._api, self._connect, self._options = api, connect, options
        self._work: Work[Key] = Work()
        self._stopped = threading.Event()
        self._events = Events(api, options.node)
        self._publisher = Publisher(api, options.node)
        self._taint = Taint(api, options.node, options.taint) if options.taint else None
        of_this_node = {"fieldSelector": f"spec.nodeName={options.node}"}
        self._pods = Reflector(api, "/api/v1/pods", of_this_node, self._pod_changed)
        self._failures: dict[Key, int] = {}
        self._warned: dict[Key, list[str]] = {}  # of annotations that nobody reads
        self._asked: dict[int, Asked] = {}  # by the vNPU's id
        self._left_out: dict[str, str] = {}  # services, and why they cannot be served
        self._troubles: dict[int, str] = {}  # of devices
        self._last: Object = {}  # what the daemon said of the node
        self._published_at = self._republish_at = -math.inf

    def run(self) -> None:
        """Until stop()."""
        follower = threading.Thread(target=self._follow, name="daemon's events", daemon=True)
        self._pods.start()
        follower.start()
        self._work.add(NODE)
        with self._connect() as daemon:
            while (key := self._work.take()) is not None:
                self._see_to(daemon, key)

    def stop(self) -> None:
        """From any thread or a signal handler. What is being written is written."""
        self._stopped.set()
        self._pods.stop()
        self._work.close()

    def _see_to(self, daemon: Client, key: Key) -> None:
        try:
            if key == NODE:
                self._publish(daemon)
            elif key == VNPUS:
                self._find_due(daemon)
            elif key == TAINT:
                self._hold_taint()
            else:
                self._reconcile(daemon, key)
        except FlexNpuError as error:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            pause_s = min(FIRST_PAUSE_S * 2 ** (failures - 1), LONGEST_PAUSE_S)
            _log.warning("%s: %s; again in %g s", "/".join(key).strip("/"), error, pause_s)
            self._work.add(key, pause_s)
        else:
            self._failures.pop(key, None)

    def _pod_changed(self, key: Key) -> None:
        self._work.add(key)
        self._work.add(VNPUS, GATHER_S)

    def _find_due(self, daemon: Client) -> None:
        """After news of the daemon or of a pod: the pods that may be concerned, and what there is to serve."""
        vnpus = daemon.vnpus()
        engines: list[tuple[Object, Engine]] = []
        for pod in self._pods.all():
            past = outcomes_of(_annotations(pod))
            for name, vnpu, texts in _containers(pod, vnpus):
                if due(vnpu, texts, past.get(name)):
                    self._work.add(key_of(pod))
                asked = self._asked_of(vnpu, texts)
                if asked.service is not None:
                    engines.append((pod, Engine(vnpu.name, tuple(vnpu.devices), vnpu.phase, asked)))
        self._asked = {vnpu.id: self._asked[vnpu.id] for vnpu in vnpus if vnpu.id in self._asked}
        if self._options.serving is not None:
            self._serve(self._options.serving, engines)

    def _asked_of(self, vnpu: VNpu, texts: Mapping[str, str]) -> Asked:
        """What could be read last: a slip in a target, which the pod's status tells of, ends no service."""
        with suppress(InvalidValue):
            self._asked[vnpu.id] = read(texts)
        return self._asked.get(vnpu.id, Asked())

    def _serve(self, serving: Serving, engines: Sequence[tuple[Object, Engine]]) -> None:
        left_out = serving.write([engine for _, engine in engines])
        for pod, engine in engines:
            name = engine.asked.service or ""
            if left_out.get(name, "") != self._left_out.get(name, ""):
                text = f"service {name}: {left_out[name]}" if name in left_out else f"service {name} is served"
                reason = "ServiceNotServed" if name in left_out else "ServiceServed"
                self._events.tell({"kind": "Pod", **pod}, "Warning" if name in left_out else "Normal", reason, text)
        self._left_out = left_out

    def _reconcile(self, daemon: Client, key: Key) -> None:
        """One pod: from its annotations to its vNPUs' quotas, and back to its status."""
        pod = self._pods.get(key)
        if pod is None:
            self._warned.pop(key, None)
        if pod is None or not any(name.startswith(PREFIX) for name in _annotations(pod)):
            return
        past = outcomes_of(_annotations(pod))
        found: Outcomes = {}
        for name, vnpu, texts in _containers(pod, daemon.vnpus()):
            outcome = carry_out(daemon, vnpu, texts, past.get(name), grow=self._options.grow)
            if outcome is not None:
                found[name] = outcome
        if found and found != past:
            self._tell(pod, past, found)
        if found:
            self._warn(key, pod, unknown(_annotations(pod), _names(pod)))

    def _warn(self, key: Key, pod: Object, names: list[str]) -> None:
        if names and names != self._warned.get(key):
            text = f"nobody reads {', '.join(names)}; known are {', '.join(KEYS)}, each with .CONTAINER or without"
            self._events.tell({"kind": "Pod", **pod}, "Warning", "UnknownAnnotation", text)
        self._warned[key] = names

    def _tell(self, pod: Object, past: Outcomes, found: Outcomes) -> None:
        meta = pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        # With the uid, a later pod of that name does not get what became of this one.
        change = {"metadata": {"uid": meta["uid"], "annotations": {STATUS: text_of(found)}}}
        try:
            self._api.patch(path, change)
        except ApiError as error:
            if error.http in ANOTHER_POD:
                return
            raise
        for container, outcome in found.items():
            text, before = sentence(outcome), past.get(container)
            if before is not None and text == sentence(before):
                continue
            if outcome.error:
                self._events.tell({"kind": "Pod", **pod}, "Warning", "QuotaRefused", text)
            else:
                self._events.tell({"kind": "Pod", **pod}, "Normal", "QuotaChanged", text)

    def _publish(self, daemon: Client) -> None:
        now = time.monotonic()
        if now < self._published_at + self._options.publish_every_s:
            self._work.add(NODE, self._published_at + self._options.publish_every_s - now)
            return
        if now >= self._republish_at:
            self._publisher.forget()
            self._republish_at = now + REPUBLISH_S
        why = ""
        try:
            self._last = status_of(daemon.devices(), daemon.vnpus())
        except DaemonError as error:
            why = str(error)
            self._work.add(NODE, FIRST_PAUSE_S)
        if self._publisher.publish(self._last, ready=not why, why=why):
            self._published_at = now
        if not why:
            self._tell_health(self._last["devices"])
        self._work.add(NODE, HEALTH_EVERY_S)

    def _tell_health(self, devices: Sequence[Object]) -> None:
        """Of a device that is lost or back: an Event of the node, and the taint, which does not hold up the NodeNPU."""
        troubles = {device["index"]: device.get("trouble", "") for device in devices}
        for index, trouble in troubles.items():
            if trouble and not self._troubles.get(index):
                self._events.tell(node_object(self._options.node), "Warning", "DeviceLost", trouble)
            elif not trouble and self._troubles.get(index):
                self._events.tell(node_object(self._options.node), "Normal", "DeviceBack", f"device {index} is back")
        self._troubles = troubles
        if TAINT not in self._failures:  # else it is due already, after a pause
            self._work.add(TAINT)

    def _hold_taint(self) -> None:
        if self._taint is not None:
            self._taint.hold(lost=any(self._troubles.values()))

    def _follow(self) -> None:
        """The daemon's events, for as long as there is one: who may be concerned is looked at again."""
        newest = 1  # none of this daemon, which begins by saying so
        while not self._stopped.is_set():
            try:
                with self._connect() as daemon:
                    for event in daemon.events(newest):
                        newest = event.id
                        self._look_again()
            except FlexNpuError as error:
                _log.debug("events of the daemon: %s", error)
            self._look_again()
            self._stopped.wait(FIRST_PAUSE_S)

    def _look_again(self) -> None:
        self._work.add(NODE, GATHER_S)
        self._work.add(VNPUS, GATHER_S)


def _names(pod: Object) -> list[str]:
    spec = pod["spec"]
    return [each["name"] for kind in ("containers", "initContainers") for each in spec.get(kind) or []]


def _annotations(pod: Object) -> dict[str, str]:
    return pod["metadata"].get("annotations") or {}


def _containers(pod: Object, vnpus: Sequence[VNpu]) -> Iterator[tuple[str, VNpu, dict[str, str]]]:
    """Those of the pod that have a vNPU: the name, the vNPU, and the annotations that are for it."""
    for vnpu in vnpus:
        owner = pod_of(vnpu)
        if owner is not None and (owner.namespace, owner.pod) == key_of(pod):
            yield owner.container, vnpu, texts_of(_annotations(pod), owner.container)
