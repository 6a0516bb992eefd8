# SPDX-License-Identifier: Apache-2.0
"""Shared pages, handshake and arbiter of FlexNPU; the inner loops of forecast, planner and simulator
(native/python)."""

from collections.abc import Callable, Sequence
from typing import Literal, overload

from flexnpu.forecast.asked import AskedAttention
from flexnpu.forecast.batch import Floats
from flexnpu.forecast.load import Load

_Fill = Callable[[float, float], tuple[Floats, Floats, Floats, Floats, Floats]]

PAGE_VERSION: int
PAGE_SIZE: int
LEDGER_SIZE: int
WAIT_BOUNDS_NS: list[int]
MOST_DEVICES: int
MOST_PROCESSES: int
NO_SLOT: int
HELLO_SIZE: int
WELCOME_SIZE: int

OK: int
BAD_HELLO: int
BAD_VERSION: int
UNKNOWN_VNPU: int
DENIED: int
DAEMON_FAULT: int

class ControlPage:
    """What the tenants of one vNPU read: a sealed memfd that only this object can write."""

    def __init__(self, vnpu: str, devices: Sequence[int]) -> None: ...
    @property
    def fd(self) -> int: ...
    def grant(self, ordinal: int) -> int: ...
    def set_phase(self, phase: int) -> None: ...
    def publish(self, ordinal: int, grant: int, cube: int, vector: int, memory_bytes: int) -> None: ...

class ReportSnapshot:
    """A copy of what a tenant says of itself, clamped; untrusted."""

    @property
    def tiled(self) -> int: ...
    @property
    def launched(self) -> int: ...
    @property
    def ungoverned(self) -> int: ...
    @property
    def waits(self) -> list[int]:
        """Waits at the gate, all devices'. Each bucket alone: up to its WAIT_BOUNDS_NS, the last one those above."""

class DeviceReport:
    """A copy of what a tenant says of one of its devices, clamped; untrusted. Times in ns."""

    @property
    def seen_grant(self) -> int: ...
    @property
    def applied_grant(self) -> int: ...
    @property
    def applied_ns(self) -> int: ...
    @property
    def waited_ns(self) -> int: ...
    @property
    def busy_ns(self) -> int: ...
    @property
    def memory_denied(self) -> int: ...
    @property
    def launches(self) -> list[int]: ...

class IterationReport:
    """A step of a serving engine as its operators tell it; untrusted. steps: so far; phase: flexnpu_phase; at_ns:
    CLOCK_MONOTONIC of its end, or of what was seen last of its beginning."""

    @property
    def steps(self) -> int: ...
    @property
    def phase(self) -> int: ...
    @property
    def requests(self) -> int: ...
    @property
    def new_tokens(self) -> int: ...
    @property
    def context_sum(self) -> int: ...
    @property
    def context_most(self) -> int: ...
    @property
    def graph(self) -> int: ...
    @property
    def at_ns(self) -> int: ...

class GraphReport:
    """A captured graph: cube and vector cores at its capture; untrusted."""

    @property
    def ordinal(self) -> int: ...
    @property
    def cube(self) -> int: ...
    @property
    def vector(self) -> int: ...
    @property
    def replays(self) -> int: ...

class ReportPage:
    """What one tenant writes: a memfd of fixed size. close_fd() leaves the daemon's mapping.

    With a descriptor, which it then owns, it takes over the page that a tenant hands back; ValueError when it is none.
    """

    @overload
    def __init__(self, pid: int) -> None: ...
    @overload
    def __init__(self, fd: int, pid: int) -> None: ...
    @property
    def fd(self) -> int: ...
    def close_fd(self) -> None: ...
    def read(self) -> ReportSnapshot: ...
    def read_device(self, ordinal: int) -> DeviceReport: ...
    def iteration(self) -> IterationReport: ...
    def begun(self) -> IterationReport: ...
    def steps(self) -> list[int]:
        """So far: of phase prefill, decode, mixed."""
    def graphs(self) -> list[GraphReport]: ...

class LedgerPage:
    """The memory that the tenants of one vNPU share; handed back like a ReportPage. Sizes in bytes.

    release() and settle() are False while a call of a tenant is under way: try settle() again.
    """

    @overload
    def __init__(self, device_count: int) -> None: ...
    @overload
    def __init__(self, fd: int, device_count: int) -> None: ...
    @property
    def fd(self) -> int: ...
    def used(self, ordinal: int) -> int: ...
    def peak(self, ordinal: int) -> int: ...
    def charged(self, ordinal: int, slot: int) -> int: ...
    def release(self, slot: int) -> bool: ...
    def settle(self) -> bool: ...
    def is_fd(self, fd: int) -> bool: ...

class HailPage:
    """Where tenants of any vNPU hail each other (flexnpu/hail.h): a memfd of fixed size, one for all devices."""

    def __init__(self) -> None: ...
    @property
    def fd(self) -> int: ...
    def close_fd(self) -> None: ...

class Hello:
    """A tenant's hello; status is OK, BAD_HELLO or BAD_VERSION, vnpu is as sent."""

    @property
    def status(self) -> int: ...
    @property
    def version(self) -> int: ...
    @property
    def vnpu(self) -> bytes: ...
    @property
    def returning(self) -> bool: ...
    @property
    def slot(self) -> int: ...

def parse_hello(data: bytes) -> Hello: ...
def pack_hello(vnpu: str, version: int = ...) -> bytes: ...
def pack_welcome(status: int, message: str = ..., slot: int = ...) -> bytes: ...

class Quota:
    """What the registry says of a vNPU on one device. share in 1/10,000 of its time, 0 for not time-shared.

    phase: flexnpu_phase that was declared, 0 for none.
    """

    def __init__(
        self,
        *,
        revision: int,
        cores: int,
        memory_bytes: int,
        burst_cores: int = 0,
        vector_cores: int = 0,
        share: int = 0,
        fixed: bool = False,
        priority: int = 0,
        phase: int = 0,
    ) -> None: ...
    @property
    def revision(self) -> int: ...
    @property
    def cores(self) -> int: ...

class VNpuState:
    """Where a vNPU stands on one device: cores between wanted, granted and applied, and its use of time.

    granted_cores and granted_vector_cores include lent_cores. share is in 1/10,000, 0 for not time-shared;
    effective_share: what the dispatch makes of it now. used_ns is the device time charged. A revision is applied when
    every live tenant has applied a grant that fulfils it.
    """

    @property
    def desired_revision(self) -> int: ...
    @property
    def desired_cores(self) -> int: ...
    @property
    def granted_revision(self) -> int: ...
    @property
    def granted_cores(self) -> int: ...
    @property
    def granted_vector_cores(self) -> int: ...
    @property
    def lent_cores(self) -> int: ...
    @property
    def held_cores(self) -> int: ...
    @property
    def live_tenants(self) -> int: ...
    @property
    def applied_revision(self) -> int: ...
    @property
    def applied_after_ns(self) -> int: ...
    @property
    def grant_number(self) -> int: ...
    @property
    def share(self) -> int: ...
    @property
    def effective_share(self) -> int: ...
    @property
    def turns(self) -> int: ...
    @property
    def used_ns(self) -> int: ...
    @property
    def demand(self) -> bool: ...
    @property
    def holds_turn(self) -> bool: ...

class Gang:
    """The turns of a vNPU on several devices, which are the same moments on all; leader: the ordinal that decides."""

    def __init__(self, leader: int) -> None: ...

class Arbiter:
    """One device's arbiter; older grants are (revision, cores). ordinal: of the device within the vNPU.

    event_fd is readable after a grant was published or applied; take_news says whose. by_phase: decode goes before
    prefill. hails: without, nobody hails.
    """

    def __init__(
        self, device_cores: int, vector_cores: int, by_phase: bool = False, hails: HailPage | None = None
    ) -> None: ...
    @property
    def event_fd(self) -> int: ...
    @property
    def held_cores(self) -> int: ...
    def add(self, vnpu: int, page: ControlPage, ordinal: int, quota: Quota, gang: Gang | None = None) -> None: ...
    def restore(
        self,
        vnpu: int,
        page: ControlPage,
        ordinal: int,
        quota: Quota,
        older: Sequence[tuple[int, int, bool]],
        absent: int,
        gang: Gang | None = None,
    ) -> list[int]: ...
    def change(self, changes: Sequence[tuple[int, Quota]]) -> None: ...
    def remove(self, vnpu: int) -> None: ...
    def attach(self, vnpu: int, page: ReportPage, pid: int, fresh: bool) -> int: ...
    def detach(self, vnpu: int, tenant: int) -> None: ...
    def applied_revision(self, vnpu: int, tenant: int) -> int: ...
    def watch(self, vnpu: int, watched: bool) -> None:
        """Whether event_fd tells of each step that its tenants begin, too."""
    def state(self, vnpu: int) -> VNpuState: ...
    def take_news(self) -> list[int]:
        """The vNPUs that something happened to since the last call; some may be gone."""

class Asks:
    """What of a load a table of rows is asked by: new tokens, logits, readers, keys of prompts."""

    TOKENS: Asks
    LOGITS: Asks
    READERS: Asks
    KEYS: Asks

class Rows:
    """Seconds of operators by tokens, for all core counts (native/forecast/rows.h).

    fill(tokens, step): numbers of tokens, `tokens` among them, and their rows: alone and held by (tokens, cores), none
    included, traffic and links by tokens. exact, fine, last: where rows of their own end, 2^fine per doubling from
    there on, and the last one.
    """

    def __init__(self, fill: _Fill, cores: int, exact: float, fine: int, last: float) -> None: ...
    def single(self, tokens: float, cores: int) -> tuple[float, float, float, float]:
        """alone, held, traffic and links of so many tokens on so many cores."""

class PlainAttention:
    """native/forecast/attention.h; lists are by cores, from none on."""

    def __init__(
        self,
        *,
        rates: Sequence[float],
        bandwidth: Sequence[float],
        left: float,
        pace: float,
        queries: float,
        heads: float,
        key: float,
        bend: float,
        fixed: float,
        block: float,
        context: tuple[float, float, float],
        generation: tuple[float, float, float],
    ) -> None: ...
    def single(self, load: Load, cores: int) -> tuple[float, float, float]:
        """Seconds alone, beside a neighbour, and what its bytes take of the whole bandwidth."""

    def computing(self, load: Load, cores: int) -> bool:
        """Whether prompts compute for as long as they read."""

class Iteration:
    """One iteration: rows of its operators and attention (native/forecast/iteration.h). The last arrays are filled."""

    def __init__(
        self, tables: Sequence[tuple[Rows, Asks]], attention: PlainAttention | AskedAttention, window: float | None
    ) -> None: ...
    def seconds(self, cores: int, load: Load) -> float: ...
    def alone(self, load: Load, seconds: Floats) -> None: ...
    def split(self, prefill: Load, decode: Load, first: Floats, second: Floats) -> None: ...
    def beside(self, prefill_cores: int, prefill: Load, decode_cores: int, decode: Load) -> tuple[float, float]: ...
    def steps(self, cores: int, load: Load, seconds: Floats) -> None: ...

class Line:
    """Prompts in one order."""

    def take(self, tokens: float) -> tuple[Load, int]:
        """What the first `tokens` bring to an iteration, and how many of them there are."""

class Queue:
    """Prompts that wait, in order of arrival (native/planner/queue.h): new and cached tokens, how many of each, and
    seconds since they arrived. target: seconds from arrival to the first token. cost: by token, and by pair."""

    def __init__(
        self,
        new: Floats,
        cached: Floats,
        copies: Floats,
        waits: Floats,
        target: float,
        cost: tuple[float, float],
    ) -> None: ...
    def work(self) -> float:
        """Seconds of the whole device that all of them take."""

    def on_time(self, pace: float, guard: float) -> bool:
        """Whether everybody is, in this order, `guard` seconds before the deadline; work takes 1 / pace as long."""

    def line(self) -> Line:
        """As they came."""

    def order(self, pace: float, guard: float, look: int) -> tuple[tuple[int, ...], int, Line]:
        """As many as can be on time by deadline, then the others: entries of the columns, how many prompts are late,
        and the line that this is. The choice is among the first `look` that have a chance."""

class SimulatedRequest:
    """A request inside an engine (native/simulator/request.h). blocks: hash ids of its full prompt blocks, taken modulo
    2 ** 64."""

    def __init__(self, index: int, arrival: float, prompt: int, output: int, blocks: Sequence[int]) -> None: ...
    @property
    def index(self) -> int: ...
    @property
    def since(self) -> float: ...
    @property
    def target(self) -> int: ...
    computed: int
    @property
    def length(self) -> int: ...
    @property
    def join_step(self) -> int: ...
    @property
    def shared(self) -> list[int]: ...
    def record(self) -> tuple[float, float, float, int, int, int, float, float, float, int, bool, int]:
        """The fields of flexnpu.simulator.Finished."""

    @property
    def gap_count(self) -> int: ...
    def gaps(self, seconds: Floats) -> None:
        """Between its tokens, `gap_count` of them."""

class KvCache:
    """Blocks of one device (native/simulator/kv.h)."""

    def __init__(self, capacity: int, block_tokens: int, hash_tokens: int, caching: bool) -> None: ...
    @property
    def capacity(self) -> int: ...
    @property
    def block_tokens(self) -> int: ...
    @property
    def free(self) -> int: ...
    @property
    def used(self) -> int: ...
    def hits(self, request: SimulatedRequest) -> int: ...
    def fits(self, request: SimulatedRequest) -> bool: ...
    def admit(self, request: SimulatedRequest) -> bool: ...
    def grow(self, blocks: int) -> None: ...
    def computed(self, request: SimulatedRequest) -> None: ...
    def release(self, request: SimulatedRequest) -> None: ...

class Prompts:
    """Who waits, and who is half run (native/simulator/prompts.h)."""

    def __init__(self, whole: bool = False) -> None: ...
    def __len__(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    @property
    def half_run(self) -> list[SimulatedRequest]: ...
    @property
    def waiting(self) -> list[SimulatedRequest]: ...
    @property
    def waiting_count(self) -> int: ...
    def put(self, request: SimulatedRequest) -> None: ...
    def reorder(self, order: Sequence[int], among: int) -> None: ...

class Decoding:
    """The decode batch of one device (native/simulator/decoding.h)."""

    @property
    def sequences(self) -> int: ...
    @property
    def seen(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def members(self) -> list[SimulatedRequest]: ...
    @property
    def load(self) -> Load: ...
    def credits(self, now: float, seconds: Floats) -> None:
        """Seconds by which each request is ahead of its mean ITL target."""

class DeviceCounters:
    """What a device did (native/simulator/device.h)."""

    @property
    def turns(self) -> int: ...
    @property
    def mixed(self) -> int: ...
    @property
    def prefills(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def preemptions(self) -> int: ...
    @property
    def switches(self) -> int: ...
    @property
    def plans(self) -> int: ...
    @property
    def kv_peak(self) -> int: ...

class Answers:
    """What a policy has answered, for all devices of a pool."""

class Looks:
    """flexnpu.planner.Looks."""

    NOTHING: Looks
    WINDOW: Looks
    BATCH: Looks
    LOAD: Looks
    WAIT: Looks
    SPLIT: Looks
    QUEUE: Looks
    ALL: Looks

class Device:
    """One device of a simulated pool (native/simulator/device.h). forecaster: an EngineForecaster. ask: a plan, by the
    device, the time, and TTFT and ITL of a window that has closed. config: an EngineConfig. looks: nothing where plans
    are not reused. The last arrays are filled."""

    def __init__(
        self,
        forecaster: object,
        ask: Callable[[Device, float, tuple[float | None, float | None] | None], object],
        config: object,
        blocks: int,
        looks: Looks | None,
        answers: Answers,
    ) -> None: ...
    @property
    def next_seconds(self) -> float: ...
    def put(self, request: SimulatedRequest, now: float) -> None: ...
    def put_decoding(self, request: SimulatedRequest, blocks: int, now: float) -> None: ...
    def wake(self, now: float) -> None: ...
    def free_blocks(self, now: float) -> int: ...
    def take(self, blocks: int, now: float) -> None: ...
    def turn(self, now: float) -> None: ...
    def take_finished(self) -> list[SimulatedRequest]: ...
    def take_handed(self) -> list[SimulatedRequest]: ...
    def leave(self, request: SimulatedRequest) -> None: ...
    def all_requests(self) -> list[SimulatedRequest]: ...
    def busy_cores(self) -> tuple[int, int, int]: ...
    decodes: bool
    @property
    def running(self) -> int: ...
    @property
    def admitted(self) -> int: ...
    @property
    def joining(self) -> int: ...
    @property
    def kv(self) -> KvCache: ...
    @property
    def prompts(self) -> Prompts: ...
    @property
    def decoding(self) -> Decoding: ...
    @property
    def counters(self) -> DeviceCounters: ...
    @property
    def current(self) -> tuple[Literal["aggregated", "split", "shared"], int, int, float] | None:
        """The plan in force: mode, cores of prefill and of decode, weight."""

    @property
    def shown(self) -> int:
        """Prompts that its policy sees."""

    def show(self, now: float, new: Floats, cached: Floats, waits: Floats) -> None: ...

def reach(new: Floats, copies: Floats, tokens: float) -> tuple[int, float] | None:
    """How many of the first prompts so many tokens reach, and how much of the last one where that is not all of it
    (else 0). None where one of them stands for several."""

def sums(new: Floats, cached: Floats, copies: Floats, window: int | None) -> Load:
    """Load.of of columns."""

def busy(alone: float, held: float, met: float) -> float:
    """Seconds of an iteration whose neighbour takes half of the bandwidth in the part `met` of the time."""

def part_met(demand: float) -> float:
    """That part, by the mean part of the bandwidth that the neighbour draws."""
