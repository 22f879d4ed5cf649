"""What a power cut may leave behind, at every moment of a recorded run; and whether a start copes with it.

At each call that changed something the changes that were not on disk are lost, kept, or kept in part: in the order in
which they were made up to one of them (what a journal leaves), all but one, and one alone (what POSIX permits besides);
each with the octets of files as last synced, as written, and with the last write torn. Pages of SQLite are treated like
all else; its `-shm` is memory, and gone.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from maillib import control
from maillib.embedded.queue import EmbeddedQueue
from maillib.runtime.service import Registry
from maillib.settings.service import Limits, ServiceConfig, Stop
from maillib.settings.spool import SpoolSettings
from tests.support.disk.model import Change, Disk, Entry, Inode, Write
from tests.support.disk.promises import Watch
from tests.support.disk.recording import ABROAD, ALICE, BOB, GONE, TEAM, Recording, Sent
from tests.support.disk.strace import Event, events
from tests.support.stored_mail import stored_mail
from workers import spool

REST_S = 20.0
"""A start that has not delivered everything by then never will."""

Key = frozenset[tuple[str, int, int, str]]


@dataclass(frozen=True, slots=True)
class File:
    """What has one or several names."""

    number: int
    octets: bytes
    mode: int
    mtime_ns: int | None


@dataclass(frozen=True, slots=True)
class CrashState:
    """A state directory after a power cut, and what had been promised by then."""

    line: int
    """Of the trace: after it the power was cut."""
    lost: str
    """What of the changes that were not on disk is lost."""
    folders: tuple[str, ...]
    files: tuple[tuple[str, File], ...]
    acknowledged: frozenset[str]

    def write(self, state_dir: Path) -> None:
        """Make it. Names of one file are links again."""
        first: dict[int, Path] = {}
        for folder in self.folders:
            (state_dir / folder).mkdir(parents=True, mode=0o750)
        for name, file in self.files:
            path = state_dir / name
            if file.number in first:
                path.hardlink_to(first[file.number])
            else:
                path.write_bytes(file.octets)
                path.chmod(file.mode)
                if file.mtime_ns is not None:
                    os.utime(path, ns=(file.mtime_ns, file.mtime_ns))
                first[file.number] = path

    def __str__(self) -> str:
        return f"power cut after line {self.line + 1}, {self.lost}"


@dataclass(frozen=True, slots=True)
class _Outcome:
    """One way in which what is not on disk may end."""

    lost: str
    changes: frozenset[Change]
    data: str
    """`synced`, `written` or `torn`."""

    def writes(self, inode: Inode) -> Sequence[Write]:
        """Those that came to the disk of the ones that were not synced."""
        if self.data == "synced" or not inode.pending:
            return ()
        if self.data == "written":
            return inode.pending
        last = inode.pending[-1]
        torn = last if last.data is None else Write(last.ended, last.offset, last.data[: len(last.data) // 2])
        return (*inode.pending[:-1], torn)


@dataclass
class _Collector:
    """Follows a trace and takes some of the states."""

    watch: Watch
    share: float
    """Of the distinct states, how many are taken."""
    chance: random.Random
    states: list[CrashState] = field(default_factory=list)
    _keys: set[Key] = field(default_factory=set)
    _seen: tuple[int, int] = (-1, 0)
    """Version of the disk, and number of messages acknowledged, at the last look."""

    def see(self, event: Event) -> None:
        now = self.watch.disk.version, len(self.watch.acknowledged)
        if now == self._seen:
            return
        self._seen = now
        for outcome in _outcomes(self.watch.disk):
            tree = _tree(self.watch.disk, self.watch.disk.after(outcome.changes))
            key = frozenset(
                (
                    path,
                    inode.number,
                    inode.synced_count + len(outcome.writes(inode)),
                    outcome.data if inode.pending else "",
                )
                for path, inode in tree
            )
            if key not in self._keys:
                self._keys.add(key)
                if self.chance.random() < self.share:
                    self.states.append(self._taken(event, outcome, tree))

    @property
    def count(self) -> int:
        return len(self._keys)

    def _taken(self, event: Event, outcome: _Outcome, tree: Sequence[tuple[str, Inode]]) -> CrashState:
        return CrashState(
            line=event.call.began if event.when == "begin" else event.call.ended,
            lost=f"{outcome.lost}, octets as {outcome.data}",
            folders=tuple(path for path, inode in tree if inode.is_directory),
            files=tuple(
                (path, File(inode.number, inode.with_writes(outcome.writes(inode)), inode.mode, inode.mtime_ns))
                for path, inode in tree
                if not inode.is_directory
            ),
            acknowledged=frozenset(self.watch.acknowledged),
        )


def crash_states(made: Recording, *, share: float, seed: int) -> tuple[list[CrashState], int]:
    """That share of the states of a recorded run, chosen by chance; and how many there are."""
    lines = made.lines()
    collector = _Collector(Watch(made.disk(lines)), share, random.Random(seed))
    collector.watch.follow(events(lines), collector.see)
    return collector.states, collector.count


def _outcomes(disk: Disk) -> Iterator[_Outcome]:
    pending = disk.pending
    every = frozenset(pending)
    yield _Outcome("everything that was not synced is lost", frozenset(), "synced")
    for data in ("synced", "written", "torn"):
        yield _Outcome("no name is lost", every, data)
    for number in range(1, len(pending)):
        for data in ("synced", "written"):
            yield _Outcome(
                f"names after line {pending[number - 1].ended + 1} are lost", frozenset(pending[:number]), data
            )
    for change in pending:
        others = frozenset(one for one in every if change not in disk.closed([one]))
        yield _Outcome(f"the change of line {change.ended + 1} is lost", others, "written")
        yield _Outcome(f"only the change of line {change.ended + 1} is kept", disk.closed([change]), "written")


def _tree(disk: Disk, names: dict[Entry, Inode]) -> list[tuple[str, Inode]]:
    """Everything that can be reached, folders before what is in them."""
    children: dict[Inode, list[tuple[str, Inode]]] = {}
    for (folder, name), inode in names.items():
        children.setdefault(folder, []).append((name, inode))
    found: list[tuple[str, Inode]] = []

    def walk(folder: Inode, path: str) -> None:
        for name, inode in sorted(children.get(folder, ()), key=lambda one: one[0]):
            if not name.endswith("-shm"):
                found.append((f"{path}{name}", inode))
                walk(inode, f"{path}{name}/")

    walk(disk.top, "")
    return found


# A start


def problems(state: CrashState, sent: Sequence[Sent], state_dir: Path) -> list[str]:
    """What is wrong when the state has been written, a spool has worked on it, and everything is at rest."""
    state.write(state_dir)
    return [f"{state}: {problem}" for problem in asyncio.run(_start(state_dir, state, sent))]


async def _start(state_dir: Path, state: CrashState, sent: Sequence[Sent]) -> list[str]:
    found = await _deliver(state_dir)
    queue = EmbeddedQueue(state_dir)
    found += [f"spool: {damage}" for damage in (await queue.check()).damaged]
    waiting = {item.id async for item in queue.browse()}
    await queue.close()
    mail = await stored_mail(state_dir, (ALICE, BOB))
    found += mail.damage
    copies: Counter[tuple[str, str]] = Counter()
    notices: Counter[str] = Counter()
    for copy in mail.copies:
        head = copy.octets.partition(b"\r\n\r\n")[0]
        message = next((one for one in sent if one.queue_id.encode() in head), None)
        if message is None:
            found.append(f"{copy.user} has a message that nobody sent")
        elif copy.octets.endswith(message.octets):
            copies[message.queue_id, copy.user] += 1
        else:
            notices[message.queue_id] += 1
            if message.recipient != GONE or copy.user != BOB:
                found.append(f"{copy.user} has octets of {message.queue_id} that are not what was sent")
    for message in sent:
        found += _of_one(message, message.queue_id in state.acknowledged, copies, notices, waiting)
    return found


def _of_one(
    message: Sent,
    is_acknowledged: bool,
    copies: Counter[tuple[str, str]],
    notices: Counter[str],
    waiting: Collection[str],
) -> Iterator[str]:
    users = {TEAM: (ALICE, BOB), ALICE: (ALICE,), BOB: (BOB,), ABROAD: (BOB,), GONE: (ALICE,)}[message.recipient]
    counts = {copies[message.queue_id, user] for user in users}
    if message.recipient == GONE:  # to whom it goes depends on whether the alias is still there
        counts = {copies[message.queue_id, ALICE] + notices[message.queue_id]}
    if counts not in ({0}, {1}):
        yield f"{message.queue_id}: copies {sorted(counts)} in the mailboxes of {', '.join(users)}"
    if is_acknowledged and counts != {1}:
        yield f"{message.queue_id} was acknowledged and is not delivered"
    if message.recipient == ABROAD and (message.queue_id in waiting) != (counts == {1}):
        yield f"{message.queue_id} does not wait for its other recipient"


async def _deliver(state_dir: Path) -> list[str]:
    """Let the spool service work until nothing is to be done; what it could not do."""
    config = ServiceConfig(
        name="spool",
        protocol="spool",
        hostname="mail.example.test",
        state_dir=str(state_dir),
        run_dir=str(control.run_dir(state_dir)),
        processes=1,
        user=None,
        listen=(),
        stop=Stop(),
        limits=Limits(),
        tls=None,
        settings=SpoolSettings(),
    )
    registry = Registry()
    service = await spool.load()(config, registry)
    stopping = asyncio.Event()
    work = asyncio.create_task(service.run(stopping))
    found: list[str] = []
    try:
        async with asyncio.timeout(REST_S):
            while not work.done() and (_moving(state_dir) or len(registry)):
                await asyncio.sleep(0.002)
    except TimeoutError:
        found.append(f"no rest: {_moving(state_dir)}")
    stopping.set()
    await work
    await registry.wait_idle()
    await service.close()
    return found


def _moving(state_dir: Path) -> list[str]:
    """Envelopes that are still to be worked on.

    Looked for twice: what is taken back from a dead spool, and what is claimed, may pass by a single look.
    """
    return _seen(state_dir / "spool") or _seen(state_dir / "spool")


def _seen(root: Path) -> list[str]:
    found: list[str] = []
    for folder in (*(root / "active").iterdir(), root / "incoming"):
        try:
            names = [path.name for path in folder.iterdir()]
        except (FileNotFoundError, NotADirectoryError):  # of a dead spool, and just removed
            continue
        found += [f"{folder.relative_to(root)}/{name}" for name in names if name.endswith(".json")]
    return found
