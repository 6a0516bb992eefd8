# SPDX-License-Identifier: Apache-2.0
"""The lives of the programs of a file, in the order that they depend on each other, and their common end.

The first that fails ends all; so does a signal. Whoever others depend on is told to end after them.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from flexnpu.cli.fleet.children import Child, end_orphans
from flexnpu.cli.fleet.file import Condition, Fleet, Program
from flexnpu.cli.fleet.outlet import JsonTeller, Stream, Teller
from flexnpu.cli.fleet.pump import Pump
from flexnpu.cli.fleet.readiness import Readiness
from flexnpu.client import Client

NOT_READY = 8  # exit code
_NO_READER = 128 + signal.SIGPIPE
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_PASSED_ON = (signal.SIGUSR1, signal.SIGUSR2)


@dataclass(slots=True)
class _Life:
    """reached: what has become of it so far."""

    name: str
    program: Program
    child: Child
    readiness: Readiness | None
    pumps: list[Pump] = field(default_factory=list)
    reached: Mapping[Condition, asyncio.Event] = field(
        default_factory=lambda: {name: asyncio.Event() for name in ("started", "ready", "done")}
    )
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    code: int | None = None

    def listen(self, tell: Teller) -> None:
        def pump(pipe: int, stream: Stream) -> Pump:
            def line(text: bytes) -> None:
                tell.line(self.name, stream, text)
                if self.readiness is not None:
                    self.readiness.line(text)

            return Pump(pipe, line, tell.outlets[stream])

        self.pumps = [pump(self.child.stdout, "stdout"), pump(self.child.stderr, "stderr")]


async def supervise(fleet: Fleet, children: Sequence[Child], connect: Callable[[], Client], *, as_json: bool) -> int:
    """The exit code: of the first program that failed, else 0; 128 + N when signal N ended them."""
    return await _Supervisor(fleet, children, connect, as_json=as_json).run()


class _Supervisor:
    def __init__(
        self, fleet: Fleet, children: Sequence[Child], connect: Callable[[], Client], *, as_json: bool
    ) -> None:
        self._tell = (JsonTeller if as_json else Teller)(list(fleet.programs), self._nobody_reads)
        self._lives: dict[str, _Life] = {}
        for child in children:
            program = fleet.programs[child.name]
            readiness = None if program.ready is None else Readiness(program.ready, child.name, connect)
            self._lives[child.name] = _Life(child.name, program, child, readiness)
        self._code: int | None = None  # once it is known that all are to end
        self._number: int = signal.SIGTERM  # how they are told
        self._over = asyncio.Event()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in _ENDING:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell's background
                loop.add_signal_handler(number, self._signalled, number)
        for number in _PASSED_ON:
            loop.add_signal_handler(number, self._to_all, number)
        for life in self._lives.values():
            life.listen(self._tell)
        living = [asyncio.create_task(self._live(life)) for life in self._lives.values()]
        ending = asyncio.create_task(self._end_all())
        await asyncio.gather(*living)
        self._over.set()
        await ending
        end_orphans()  # who would go on writing
        for life in self._lives.values():
            for pump in life.pumps:
                pump.close()
        for outlet in self._tell.outlets.values():
            await outlet.drain()
        return self._code or 0

    async def _live(self, life: _Life) -> None:
        watching = asyncio.create_task(self._watch(life))
        for name, condition in life.program.depends_on.items():
            await self._either(self._lives[name].reached[condition], life.ended)
        if not life.ended.is_set() and self._code is None:
            life.child.go()
            life.reached["started"].set()
            self._tell.became(life.name, "started", pid=life.child.pid)
            if life.readiness is not None:
                await self._become_ready(life, life.readiness)
        await watching

    async def _become_ready(self, life: _Life, readiness: Readiness) -> None:
        waiting = asyncio.create_task(readiness.wait())
        ended = asyncio.create_task(life.ended.wait())
        await asyncio.wait((waiting, ended), return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not (waiting.done() or readiness.is_seen):
            waiting.cancel()
            return
        try:
            await waiting
        except TimeoutError:
            self._tell.became(life.name, "not ready", within=life.program.ready and life.program.ready.within)
            self._fail(NOT_READY)
            return
        life.reached["ready"].set()
        self._tell.became(life.name, "ready")

    async def _watch(self, life: _Life) -> None:
        """Until the process has ended; whom it left others waiting for decides what that means to all."""
        gone = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(life.child.pidfd, gone.set)
        await gone.wait()
        loop.remove_reader(life.child.pidfd)
        life.code = life.child.reap()
        for pump in life.pumps:
            pump.catch_up()  # its last words may be that it is ready
        was_started = life.reached["started"].is_set()
        if was_started:
            self._tell.became(life.name, "ended", code=life.code)
        life.ended.set()
        if life.code != 0:
            self._fail(life.code)
        elif was_started and self._leaves_waiting(life):
            self._fail(NOT_READY)
        elif was_started:
            life.reached["done"].set()

    def _leaves_waiting(self, life: _Life) -> bool:
        """Whether others wait until it is ready, which it will not be any more."""
        if life.reached["ready"].is_set() or (life.readiness is not None and life.readiness.is_seen):
            return False
        return any(other.program.depends_on.get(life.name) == "ready" for other in self._lives.values())

    def _fail(self, code: int) -> None:
        """All are to end; the first reason counts."""
        if self._code is None:
            self._code = code
            self._over.set()

    def _nobody_reads(self) -> None:
        self._fail(_NO_READER)

    def _signalled(self, number: signal.Signals) -> None:
        """The first is passed on; a second one ends who heeds none, and waits for no reader."""
        if self._code is None:
            self._number = number
            self._fail(128 + number)
        else:
            self._to_all(signal.SIGKILL)
            for outlet in self._tell.outlets.values():
                outlet.drop()

    def _to_all(self, number: int) -> None:
        for life in self._lives.values():
            if life.reached["started"].is_set():
                life.child.signal(number)

    async def _end_all(self) -> None:
        await self._over.wait()
        for life in self._lives.values():
            if not life.reached["started"].is_set():
                life.child.give_up()
        await asyncio.gather(*(self._end(life) for life in self._lives.values()))

    async def _end(self, life: _Life) -> None:
        for other in self._lives.values():
            if life.name in other.program.depends_on:
                await other.ended.wait()
        life.child.signal(self._number)
        try:
            async with asyncio.timeout(life.program.stop_within):
                await life.ended.wait()
        except TimeoutError:
            life.child.signal(signal.SIGKILL)
            await life.ended.wait()

    @staticmethod
    async def _either(first: asyncio.Event, second: asyncio.Event) -> None:
        waits = [asyncio.create_task(each.wait()) for each in (first, second)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()
