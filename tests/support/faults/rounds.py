"""A round: an operation is broken in a fresh copy of its state, run again to its end, and then every invariant is checked."""

import json
import random
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from tests.support.faults.away import failing_server, killed_server, read_only
from tests.support.faults.house import House
from tests.support.faults.invariants import differences
from tests.support.faults.states import REASON, make_states

LOOK = ("python", "-m", "tests.support.faults.invariants")
ENDS_WITHIN = 20  # seconds after SIGINT or SIGTERM


@dataclass(frozen=True)
class Operation:
    """Something that a person does with a catalog, and the named points that it passes."""

    state: str
    command: tuple[str, ...]
    points: tuple[str, ...]
    repeatable: bool = True
    """Whether doing it again when it is done changes nothing. Otherwise it is done again only if it was not done, and may refuse to."""


WRITTEN, SETTLED = "file written, not in place", "version settled, record not written"
RECORDED = ("outputs in the cache, stage not recorded", "journal: line written", "dvc.lock written, journal not removed")
TOLD, SET, DROPPED = "history line written, alias not set", "alias set", "alias dropped"
KEPT = "version's record written, DVC has the old one"
OWL = tuple(f"../owl/{number}.png" for number in range(3))
OPERATIONS = {
    "build": Operation(
        "new",
        ("wordmint", "build"),
        (
            *RECORDED,
            WRITTEN,
            "one checkpoint in place, the next not",
            "model logged, not registered",
            "version created, no alias",
            TOLD,
            SET,
            SETTLED,
        ),
    ),
    "rebuild": Operation(
        "changed", ("wordmint", "build"), (*RECORDED, WRITTEN, "old folder away, new one not in place", "old results set aside", TOLD, SET, SETTLED)
    ),
    "repro": Operation("new", ("dvc", "repro"), (WRITTEN, "model logged, not registered", TOLD, SET, SETTLED)),
    "rescore": Operation("resampled", ("wordmint", "rescore", "fox"), ("one score written, the next not", TOLD)),
    "promote": Operation("challenged", ("wordmint", "promote", "fox", "--accept", REASON), (TOLD, SET, DROPPED, KEPT), repeatable=False),
    "rollback": Operation("crowned", ("wordmint", "rollback", "fox"), (TOLD, SET, KEPT), repeatable=False),
    "revoke": Operation("crowned", ("wordmint", "revoke", "fox", "--why", REASON), ("revocation marked", TOLD, DROPPED, KEPT)),
    "reinstate": Operation("revoked", ("wordmint", "reinstate", "fox"), (TOLD, SET, KEPT), repeatable=False),
    "add": Operation(
        "built",
        ("wordmint", "add", "owl", *OWL, "--word", "bird", "--undeclared", "drawn"),
        ("pictures copied, not tracked", "pictures tracked, params.yaml not written", WRITTEN),
        repeatable=False,
    ),
    "prune": Operation("littered", ("wordmint", "prune", "--yes", "--hours", "0"), ("models of an orphan deleted, its run not",)),
    "push": Operation("built", ("wordmint", "push"), ("pictures tracked, nothing sent",)),
    "pull": Operation("cloned", ("wordmint", "pull"), ("files fetched, nothing restored",)),
}
VISITS = {WRITTEN: 14, TOLD: 2, SET: 2, DROPPED: 2, "journal: line written": 9, "outputs in the cache, stage not recorded": 9}
"""A point that an operation passes several times, and up to which visit it is struck; each other one is struck at its first."""
MOVES = ("promote", "rollback", "revoke", "reinstate")
SAID_BEFORE = dict.fromkeys(MOVES, 1) | {"prune": 100}
"""How many lines an operation prints about what it has done: a move says where the alias is, prune lists what it deletes."""
AWAY = {
    "REMOTE": ("push", "pull"),
    "MLFLOW": (*MOVES, "rescore"),
    "SERVER": (*MOVES, "build"),
    "READONLY": ("build", "rebuild", "add", "push", *MOVES),
}
"""What may be missing, and for which operations: a service that is away, a server that is killed, a folder that cannot be written."""
MOUNTED = ("DISK", "READONLY")
"""What needs the right to mount."""
READ_ONLY = ("data", "data/images", "mlruns", ".dvc")
"""Folders of a catalog, one of which cannot be written; the moment of the fault says which."""


@dataclass(frozen=True)
class Fault:
    """What happens to an operation: at a named point, at a moment, or all the time."""

    operation: str
    kind: str
    """kill or full at a point; a signal at a moment; DISK, which is full from a moment on; REMOTE or MLFLOW, which is away; SERVER, MLflow's, which
    is killed at a moment; READONLY, a folder that cannot be written."""
    point: str = ""
    visit: int = 1
    moment: float = 0.0
    """As a share of the time, or for DISK of the bytes, that the undisturbed operation takes."""

    @property
    def title(self) -> str:
        where = f" at {self.point}" if self.point else " at a random moment" if self.kind not in ("REMOTE", "MLFLOW", "READONLY") else " is away"
        return f"{self.operation}: {self.kind}{where}"

    def __str__(self) -> str:
        where = f"{self.point}, visit {self.visit}" if self.point else f"{self.moment:.2f} of its time"
        return f"{self.operation}: {self.kind} at {where}"


@dataclass
class Rounds:
    """Rounds in one house. What an operation leads to undisturbed is found out once."""

    house: House
    wanted: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)

    def prepare(self, operations: set[str]) -> None:
        """Make the states in which operations begin, and see how they end undisturbed."""
        make_states(self.house, {OPERATIONS[name].state for name in operations})
        for name in sorted(operations):
            self.house.take(OPERATIONS[name].state)
            started, free = time.monotonic(), self.house.free
            self.house.succeed(*OPERATIONS[name].command)
            self.seconds[name], self.bytes[name] = time.monotonic() - started, free - self.house.free
            found = self.look(0)
            if found["violations"]:
                raise RuntimeError(f"{name}, undisturbed: {'; '.join(found['violations'])}")
            self.wanted[name] = found["standing"]

    def look(self, faults: int) -> dict[str, Any]:
        return json.loads(self.house.succeed(*LOOK, str(faults)).splitlines()[-1])

    def round(self, fault: Fault) -> list[str]:
        """Break an operation, complete it, and return every violation in words."""
        operation = OPERATIONS[fault.operation]
        self.house.take(operation.state)
        violations = list(self.broken(fault))
        if command := self.completion(fault.operation):
            if command[0] == "dvc":
                self.delete_torn_lock()
            code, said = self.house.run(*command)
            if code != 0 and operation.repeatable:
                violations.append(f"the second run ended with {code}: {said[-300:]}")
        found = self.look(2 if fault.kind in ("DISK", "full") else 1)  # a full disk may stop both concepts
        one, other = found["standing"], self.wanted[fault.operation]
        if fault.kind in ("DISK", "full"):  # a concept that failed is trained later, without the other, which rounds its sums differently
            one, other = without_bytes(one), without_bytes(other)
        return violations + found["violations"] + list(differences(one, other))

    def delete_torn_lock(self) -> None:
        """Delete a dvc.lock in the middle of whose writing DVC was interrupted, as docs/reliability.md says: DVC refuses to read it."""
        lock = self.house.catalog / "dvc.lock"
        try:
            yaml.safe_load(lock.read_text(encoding="utf-8"))
        except FileNotFoundError:
            pass
        except yaml.YAMLError:
            lock.unlink()

    def completion(self, name: str) -> tuple[str, ...]:
        """Return the command that completes a broken operation: the same again; where the registry has it already, one that looks; or none."""
        operation, wanted = OPERATIONS[name], self.wanted[name]
        if operation.repeatable:
            return operation.command
        found = self.look(1)["standing"]
        if found["registry"] == wanted["registry"]:
            return () if found == wanted else ("wordmint", "history", "fox")
        return operation.command

    def broken(self, fault: Fault) -> Iterator[str]:
        """Run an operation with a fault, and yield what is wrong with the way it ended."""
        command = OPERATIONS[fault.operation].command
        if fault.point:
            code, said = self.house.run(*command, WORDMINT_FAULT=f"{fault.point}={fault.kind}", WORDMINT_FAULT_VISIT=str(fault.visit))
            if fault.visit == 1 and fault.operation != "repro" and code != {"kill": None, "full": 1}[fault.kind]:
                yield f"the fault did not end the command, which ended with {code}: {said[-300:]}"
            return
        if fault.kind in ("DISK", *AWAY):
            yield from self.without(fault)
            return
        process = self.house.start(*command)
        time.sleep(fault.moment * self.seconds[fault.operation])
        process.send(signal.Signals[fault.kind])
        struck = time.monotonic()
        code, said = process.wait()
        if fault.kind != "SIGKILL":
            if (waited := time.monotonic() - struck) > ENDS_WITHIN and code != 0:
                yield f"it took {waited:.0f} s to end after {fault.kind}"
            if code and command[0] == "wordmint" and not is_one_line(said, before=SAID_BEFORE.get(fault.operation, 0)):
                yield f"it ended with {code}: {said[-300:]}"  # DVC's own command has more to say, and shows tracebacks

    def without(self, fault: Fault) -> Iterator[str]:
        """Run an operation without something that it needs, and yield what is wrong with the way it ended."""
        command, seconds = OPERATIONS[fault.operation].command, fault.moment * self.seconds[fault.operation]
        match fault.kind:
            case "DISK":
                with self.house.nearly_full(int(fault.moment * self.bytes[fault.operation])):
                    self.house.run(*command)
                return
            case "REMOTE":
                with self.house.away("remote"):
                    code, said = self.house.run(*command)
                said = said.strip().splitlines()[-1]  # DVC prints lines of its own before
            case "MLFLOW":
                with failing_server(slow=fault.moment > 0.5) as address:
                    code, said = self.house.run(*command, MLFLOW_TRACKING_URI=address)
            case "SERVER":
                with killed_server(self.house.catalog / "mlruns/mlflow.db", self.house.home, seconds) as address:
                    code, said = self.house.run(*command, MLFLOW_TRACKING_URI=address, MLFLOW_HTTP_REQUEST_MAX_RETRIES="1")
            case "READONLY":
                with read_only(self.house.catalog / READ_ONLY[int(fault.moment * len(READ_ONLY))]):
                    code, said = self.house.run(*command)
        if code == 0 and fault.kind in ("SERVER", "READONLY"):  # it was done before the kill, or need not write there
            return
        lines = said.strip().splitlines()
        # A build names each concept that failed; a move that was made says so, and then what it could not write.
        if code != 1 or "Traceback" in said or (len(lines) > 1 and fault.kind not in ("SERVER", "READONLY")):
            yield f"it ended with {code}: {said[-300:]}"


def is_one_line(said: str, before: int) -> bool:
    """Tell whether a command that was interrupted says so in one line, after at most so many lines about what it has done."""
    lines = said.strip().splitlines()
    return 1 <= len(lines) <= before + 1 and "Traceback" not in said and lines[-1].startswith(("interrupted", "error: "))


def without_bytes(standing: dict[str, Any]) -> dict[str, Any]:
    """Return what is stale and which alias reaches which version."""
    return {"stale": standing["stale"], "aliases": {concept: entry["aliases"] for concept, entry in standing["registry"].items()}}


def faults_of(seed: int, count: int, operations: Sequence[str], mounts: bool = True) -> list[Fault]:
    """Return `count` faults: first a kill at every named point of every operation, in a random order, then random ones.

    mounts: whether this process may mount file systems; without that, no disk is full and no folder read-only.
    """
    generator = random.Random(seed)
    first = at_points(set(operations))
    generator.shuffle(first)
    return [*first, *(drawn(generator, operations, mounts) for _ in range(count - len(first)))][:count]


def at_points(operations: set[str], kinds: tuple[str, ...] = ("kill",)) -> list[Fault]:
    """Return a fault at the first visit of every named point of every operation."""
    return [Fault(name, kind, point) for kind in kinds for name in sorted(operations) for point in OPERATIONS[name].points]


def drawn(generator: random.Random, operations: Sequence[str], mounts: bool) -> Fault:
    """Return a random fault: at a visit of a point, or at any moment."""
    name = generator.choice(operations)
    if generator.random() < 0.5:
        kinds = ["SIGKILL", "SIGKILL", "SIGINT", "SIGTERM", "DISK"]
        kinds += [kind for kind, broken in AWAY.items() if name in broken]
        kinds = [kind for kind in kinds if mounts or kind not in MOUNTED]
        return Fault(name, generator.choice(kinds), moment=generator.random())
    point = generator.choice(OPERATIONS[name].points)
    return Fault(name, generator.choice(["kill", "kill", "full"]), point, generator.randint(1, VISITS.get(point, 1)))
