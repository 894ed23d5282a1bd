"""Several hosts: one process on each, started by the same command, that act as one program.

Every host runs the same code over one mesh. What must happen once (a file of the run directory, a
lock, a download) process 0 does, and its result reaches the others through the coordination
service, which needs no device.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from condmis_jax.errors import UserError, first_line
from condmis_jax.sharding import _last_words
from condmis_jax.sharding.mesh import BATCH

T = TypeVar("T")

COORDINATOR, PROCESSES, PROCESS = "CONDMIS_COORDINATOR", "CONDMIS_PROCESSES", "CONDMIS_PROCESS"
GOODBYE_SECONDS = 5.0  # for hosts that end with the same error to say so, each for itself
FIRST_WORK_SECONDS = 7 * 24 * 3600  # process 0 may judge for days; its death is noticed otherwise
MESSAGE = 1 << 20  # bytes of one value of the coordination service
PIECE_BYTES = 64 << 20  # of an array on its way to the host
# What a runtime says when a peer has gone; each is part of a longer text.
LOST = (
    "gloo",
    "connection reset",
    "connection refused",
    "connection closed",
    "socket closed",
    "unavailable",
    "heartbeat",
    "barrier",
    "coordination service",
    "deadline_exceeded",
)


@dataclass(frozen=True)
class HostsSettings:
    """How this process finds the others of its run.

    Attributes:
        kind: "one": it is alone. "auto": a TPU slice, SLURM or Open MPI tells. "explicit": the
            environment tells, so that one command line serves all: CONDMIS_COORDINATOR
            (HOST:PORT of process 0), CONDMIS_PROCESSES and CONDMIS_PROCESS (counted from 0).
        patience_seconds: a host that is silent for so long counts as lost, and all others stop.
    """

    kind: Literal["one", "auto", "explicit"] = "one"
    patience_seconds: int = 60

    def __post_init__(self) -> None:
        if self.patience_seconds < 5:
            raise ValueError("patience_seconds must be at least 5")


class HostLost(UserError):
    """Another host has gone; nothing can be computed any more."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"host {jax.process_index()}: {_last_words.LOST} ({reason}); {_last_words.REMEDY}"
        )


@contextmanager
def joined(settings: HostsSettings) -> Iterator[None]:
    """Acts as one of the hosts of a run.

    With several, this ends the process where an error would leave the block: what JAX does at a
    normal exit waits for hosts that may never come.

    Raises:
        UserError: the others are not found.
    """
    if settings.kind == "one":
        yield
        return
    _connect(settings)
    try:
        yield
    except BaseException as error:
        _leave(error)
    _meet("condmis/end", settings.patience_seconds)


def _connect(settings: HostsSettings) -> None:
    where: dict[str, Any] = {}
    if settings.kind == "explicit":
        where = _addresses()
    # JAX's own notice of preemption would keep SIGTERM from this process for good, also where
    # nobody asks for the notice.
    jax.config.update("jax_enable_preemption_service", False)
    # Programs of CPUs that run side by side would mix up their messages (see `in_turn`).
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_enable_concurrency_optimized_scheduler=false"
    _last_words.listen()
    try:
        jax.distributed.initialize(
            **where,
            heartbeat_timeout_seconds=settings.patience_seconds,
            shutdown_timeout_seconds=settings.patience_seconds,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"config.hosts: the hosts of this run do not find each other ({first_line(error)}); "
            "for kind 'auto' start one process on every worker of a TPU slice or SLURM step, "
            f"elsewhere take 'explicit' with {COORDINATOR}, {PROCESSES} and {PROCESS}"
        ) from None


def _addresses() -> dict[str, Any]:
    try:
        found = {
            "coordinator_address": os.environ[COORDINATOR],
            "num_processes": int(os.environ[PROCESSES]),
            "process_id": int(os.environ[PROCESS]),
        }
    except (KeyError, ValueError) as error:
        raise UserError(
            f"config.hosts: kind 'explicit' reads {COORDINATOR}=HOST:PORT, {PROCESSES} and "
            f"{PROCESS} from the environment; missing or not a number: {error}"
        ) from None
    if not 0 <= found["process_id"] < found["num_processes"]:
        raise UserError(
            f"config.hosts: {PROCESS}={found['process_id']} is not one of "
            f"0..{found['num_processes'] - 1} ({PROCESSES}={found['num_processes']})"
        )
    return {**found, "cluster_detection_method": "deactivate"}


def _leave(error: BaseException) -> None:
    """Ends this process with its own status, in bounded time."""
    import traceback

    lost = lost_host(error)
    status: Any = 1
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif isinstance(error, KeyboardInterrupt):
        status = 130
    elif lost is not None or isinstance(error, UserError):
        print(f"error: {' '.join(str(lost or error).split())}", file=sys.stderr)
    else:
        traceback.print_exception(error)
    if lost is None:
        _meet("condmis/leave", GOODBYE_SECONDS)
    _last_words.end()
    sys.stdout.flush()
    os._exit(status)


def lost_host(error: BaseException) -> HostLost | None:
    """The error to show for one that came because another host has gone."""
    if isinstance(error, HostLost):
        return error
    text = str(error).lower()
    if not several() or isinstance(error, UserError) or not any(sign in text for sign in LOST):
        return None
    return HostLost(first_line(error))


def _client() -> Any:
    from jax._src.distributed import global_state

    return global_state.client


def _meet(name: str, seconds: float) -> None:
    """Waits for the other hosts, but not longer."""
    try:
        _client().wait_at_barrier(name, int(1000 * seconds))
    except Exception as error:  # too late, or nobody is left: what follows is the end in any case
        del error


def several() -> bool:
    """Whether this run has several hosts."""
    return jax.process_count() > 1


def is_first() -> bool:
    """Whether this is the host that writes the run directory."""
    return jax.process_index() == 0


_turn = itertools.count()


def from_first(work: Callable[[], T]) -> T:
    """Does `work` on process 0; its result, JSON-able, or its UserError is everyone's.

    All hosts must come by here, in the same order.
    """
    if not several():
        return work()
    key = f"condmis/first/{next(_turn)}"
    if is_first():
        try:
            result = work()
            _publish(key, {"result": result})
        except UserError as error:
            _publish(key, {"error": str(error)})
            raise
        return result
    message = _published(key)
    if "error" in message:
        raise UserError(message["error"])
    return message["result"]


def on_first(work: Callable[[], object]) -> None:
    """Does `work` on process 0 for its effect; the others wait, and fail where it fails."""

    def silent() -> None:
        work()

    from_first(silent)


@contextmanager
def held_by_first(resource: AbstractContextManager[object]) -> Iterator[None]:
    """Enters `resource` on process 0 for the time of the block; all fail where that fails."""
    with ExitStack() as stack:
        on_first(lambda: stack.enter_context(resource))
        yield


def _publish(key: str, value: Any) -> None:
    text = json.dumps(value)
    parts = [text[i : i + MESSAGE] for i in range(0, len(text), MESSAGE)]
    for i, part in enumerate(parts):
        _client().key_value_set(f"{key}/{i}", part)
    _client().key_value_set(key, str(len(parts)))


def _published(key: str, seconds: float = FIRST_WORK_SECONDS) -> Any:
    def get(name: str) -> str:
        return _client().blocking_key_value_get(name, int(1000 * seconds))

    count = int(get(f"{key}"))
    return json.loads("".join(get(f"{key}/{i}") for i in range(count)))


def agree(what: str, value: str) -> None:
    """Makes sure that all hosts have the same value.

    Raises:
        UserError: on every host, when one has another value than process 0; names it.
    """
    if not several():
        return
    key = f"condmis/agree/{next(_turn)}"
    _publish(f"{key}/{jax.process_index()}", value)
    found = [_published(f"{key}/{i}") for i in range(jax.process_count())]
    other = [i for i, v in enumerate(found) if v != found[0]]
    if other:
        raise UserError(
            f"hosts: host {other[0]} has another {what} than host 0 ({found[other[0]][:60]}, not "
            f"{found[0][:60]}); start the same command with the same code and files everywhere"
        )


def in_turn(program: Callable[..., T]) -> Callable[..., T]:
    """`program`, waited for at each call where several hosts compute on CPUs.

    The messages of their programs have no sender but the order of sending: two that run at once
    take each other's. Accelerators keep programs in order, and there the program itself is
    returned.
    """
    if not several() or jax.default_backend() != "cpu":
        return program

    def waited(*args: Any, **named: Any) -> T:
        return jax.block_until_ready(program(*args, **named))

    return waited


def to_host(x: jax.Array) -> np.ndarray:
    """The whole of an array, on every host."""
    return np.concatenate(list(pieces(x))) if x.ndim else next(pieces(x))


def pieces(x: jax.Array) -> Iterator[np.ndarray]:
    """An array in pieces along its first axis; no more than one at a time is gathered."""
    if x.is_fully_addressable or x.is_fully_replicated:
        yield np.asarray(x)
        return
    cut = _cut(NamedSharding(x.sharding.mesh, PartitionSpec()))  # type: ignore[attr-defined]
    size = max(1, PIECE_BYTES // max(x.nbytes // x.shape[0], 1))
    for start in range(0, x.shape[0], size):
        yield np.asarray(cut(x, np.int32(start), min(size, x.shape[0] - start)))


@lru_cache(maxsize=8)
def _cut(everywhere: NamedSharding) -> Callable[..., jax.Array]:
    """A part of an array along its first axis, on every device."""
    cut = jax.lax.dynamic_slice_in_dim
    return in_turn(jax.jit(cut, static_argnums=2, out_shardings=everywhere))


def own_shards(mesh: Mesh) -> tuple[int, ...]:
    """Which of the parts that a batch's rows are split into lie on this host, in order."""
    devices = np.moveaxis(mesh.devices, [mesh.axis_names.index(a) for a in BATCH], [0, 1])
    flat = devices.reshape(-1, devices.shape[-1])
    here = jax.process_index()
    return tuple(i for i, row in enumerate(flat) if any(d.process_index == here for d in row))


class StopTogether:
    """A stop that one host asks for and all obey behind the same step.

    What a host asks at one step is added up over all hosts on their devices, and looked at `LAG`
    steps later: nobody waits, and everybody sees the same.
    """

    LAG = 4

    def __init__(self) -> None:
        self._asked: list[Any] = []
        if several():
            hosts = Mesh(np.asarray(jax.devices()), ("devices",))
            self._place = NamedSharding(hosts, PartitionSpec("devices"))
            everywhere = NamedSharding(hosts, PartitionSpec())
            self._sum = in_turn(jax.jit(lambda x: x.sum(), out_shardings=everywhere))

    def __call__(self, wanted: bool) -> bool:
        """Whether to stop behind this step; `wanted` is this host's own wish."""
        if not several():
            return wanted
        mine = np.full(jax.local_device_count(), wanted, np.int32)
        x = jax.make_array_from_process_local_data(self._place, mine)
        self._asked.append(self._sum(x))
        return len(self._asked) > self.LAG and int(self._asked.pop(0)) > 0
