"""SIGKILL of IMAP workers while clients change their mailboxes, and a ledger of what they were promised.

Each client has two mailboxes that nobody else writes to, so it knows what has to be in them; a command that was not
answered has been done as a whole or not at all. `python -m tests.support.imap_kills --operations 5000` is the long run.
"""

import argparse
import asyncio
import contextlib
import os
import random
import signal
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator import processes
from tests.support.imap_client import Answer, ImapClient, numbers
from tests.support.imap_stress import contents
from tests.support.imap_suite import ImapSuite
from tests.support.mail_suite import ALICE, PASSWORD

WORKERS = 8
"""A crashed one comes back after a pause that grows to ten seconds."""

RETRY_S = 0.1
"""Of who finds no worker."""

LOST = (OSError, EOFError)
"""What a client sees of a worker's end."""

_FLAGS = ("\\Seen", "\\Flagged", "\\Draft", "key")

Messages = dict[int, tuple[str, frozenset[str]]]
"""UID to subject and flags."""


class Broken(AssertionError):
    """A promise was not kept."""


@dataclass(slots=True)
class Box:
    """A mailbox as its one client knows it."""

    name: str
    messages: Messages = field(default_factory=dict)
    ever: dict[int, str] = field(default_factory=dict)
    """Each UID that there has been, to the subject of its message."""

    def adopt(self, found: Messages) -> None:
        """Raises Broken when a UID means another message than before, or one that had gone."""
        for uid, (subject, _) in found.items():
            if uid not in self.messages and uid in self.ever:
                raise Broken(f"{self.name}: UID {uid} is used again, for {subject}; it was {self.ever[uid]}")
            if uid not in self.messages and self.ever and uid < max(self.ever):
                raise Broken(f"{self.name}: new UID {uid} below {max(self.ever)}")
            self.ever[uid] = subject
        self.messages = found


@dataclass(slots=True)
class Tally:
    operations: Counter[str] = field(default_factory=Counter)
    """Acknowledged."""
    unanswered: Counter[str] = field(default_factory=Counter)
    done_all_the_same: int = 0
    """Of those that were not answered."""
    kills: int = 0


class Client:
    """One that changes its mailboxes until enough is done."""

    def __init__(self, number: int, suite: ImapSuite, tally: Tally, chance: random.Random) -> None:
        self._number = number
        self._suite = suite
        self._tally = tally
        self._chance = chance
        self._sent = 0
        self._client: ImapClient | None = None
        self.box, self.other = Box(f"Box{number}"), Box(f"Other{number}")

    async def run(self, operations: int) -> None:
        await self._connect()
        while sum(self._tally.operations.values()) < operations:
            name, after, act = self._choose()
            try:
                answer = await act()
            except LOST:
                self._tally.unanswered[name] += 1
                await self._connect(after)
            else:
                if answer.status != "OK":
                    raise Broken(f"{name}: {answer.status} {answer.text}")
                self._tally.operations[name] += 1
                self._settle(after, answer)

    async def check(self) -> None:
        """At the end: all is as it was acknowledged."""
        await self._connect()
        self.cut()

    def cut(self) -> None:
        if self._client is not None:
            self._client.cut()

    async def _say(self, text: str, *literals: bytes) -> Answer:
        assert self._client is not None
        return await self._client.command(text, *literals)

    def _choose(self) -> "tuple[str, After, Callable[[], Awaitable[Answer]]]":
        uids = self._chance.sample(sorted(self.box.messages), min(len(self.box.messages), self._chance.randint(1, 4)))
        uid_set = ",".join(map(str, uids))
        kind = self._chance.choice(("append", "append", "store", "expunge", "move")) if uids else "append"
        now, other = dict(self.box.messages), dict(self.other.messages)
        if kind == "append":
            self._sent += 1
            subject = f"{self._number}-{self._sent}"
            octets = f"Subject: {subject}\r\n\r\n".encode() + b"body\r\n" * self._chance.choice((1, 100, 5000))
            after = After(now, other, added=((subject, frozenset()),))
            return kind, after, lambda: self._say(f"APPEND {self.box.name} {{}}", octets)
        if kind == "store":
            flag = self._chance.choice(_FLAGS)
            for uid in uids:
                now[uid] = (now[uid][0], now[uid][1] | {flag})
            return kind, After(now, other), lambda: self._say(f"UID STORE {uid_set} +FLAGS.SILENT ({flag})")
        moved = tuple(now.pop(uid) for uid in sorted(uids))
        if kind == "move":
            after = After(now, other, moved=moved)
            return kind, after, lambda: self._say(f"UID MOVE {uid_set} {self.other.name}")
        return kind, After(now, other), lambda: self._expunge(uid_set, uids)

    async def _expunge(self, uid_set: str, uids: list[int]) -> Answer:
        """In two commands, of which the first changes no more than a flag."""
        await self._say(f"UID STORE {uid_set} +FLAGS.SILENT (\\Deleted)")
        for uid in uids:
            subject, flags = self.box.messages[uid]
            self.box.messages[uid] = subject, flags | {"\\Deleted"}
        return await self._say(f"UID EXPUNGE {uid_set}")

    def _settle(self, after: "After", answer: Answer) -> None:
        """It was acknowledged."""
        now, other = after.box, after.other
        if after.added:
            now = {**now, int(answer.code[2]): after.added[0]}
        if after.moved:
            code = next(line for _, line in answer.all(b"OK") if isinstance(line, bytes) and b"[COPYUID" in line)
            copies = numbers(code.partition(b"]")[0].split()[-1])
            other = {**other, **dict(zip(copies, after.moved, strict=True))}
        self.box.adopt(now)
        self.other.adopt(other)

    async def _connect(self, after: "After | None" = None) -> None:
        """Again and again until it is served; then look what is there. Raises Broken for what must not be."""
        while True:
            with contextlib.suppress(*LOST):
                self.cut()
                self._client = client = await ImapClient.connect(self._suite.imap)
                await client.log_in(ALICE, PASSWORD)
                for box in (self.box, self.other):
                    await client.command(f"CREATE {box.name}")
                found = [
                    {uid: (subject, flags) for uid, flags, subject in await contents(client, box.name)}
                    for box in (self.other, self.box)
                ]
                await client.ok(f"SELECT {self.box.name}")
                break
            await asyncio.sleep(RETRY_S)
        other, now = found
        if (now, other) != (self.box.messages, self.other.messages):
            if after is None or not after.is_met(now, other):
                raise Broken(f"{self.box.name}: {_differences(self, now, other)}")
            self._tally.done_all_the_same += 1
        self.box.adopt(now)
        self.other.adopt(other)


@dataclass(slots=True)
class After:
    """What is there when a command has been done."""

    box: Messages
    other: Messages
    added: tuple[tuple[str, frozenset[str]], ...] = ()
    """To the box; the UID is told by the server."""
    moved: tuple[tuple[str, frozenset[str]], ...] = ()

    def is_met(self, box: Messages, other: Messages) -> bool:
        """Also half-way between the two commands of `Client._expunge`, which change flags first."""
        if _with(self.box, self.added) == _sorted(box) and _with(self.other, self.moved) == _sorted(other):
            return True
        return _sorted(other) == _with(self.other, ()) and _without_deleted(box) == self.box


def _with(messages: Messages, more: tuple[tuple[str, frozenset[str]], ...]) -> list[tuple[str, frozenset[str]]]:
    return sorted([*messages.values(), *more], key=str)


def _sorted(messages: Messages) -> list[tuple[str, frozenset[str]]]:
    return _with(messages, ())


def _without_deleted(messages: Messages) -> Messages:
    return {uid: one for uid, one in messages.items() if "\\Deleted" not in one[1]}


def _differences(client: Client, box: Messages, other: Messages) -> str:
    there, wanted = set(box.items()), set(client.box.messages.items())
    moved, copies = set(other.items()), set(client.other.messages.items())
    return f"missing {wanted - there} {copies - moved}, too many {there - wanted} {moved - copies}"


async def run(suite: ImapSuite, *, operations: int, clients: int, every: int, seed: int) -> Tally:
    """Raises Broken. The suite is up, with ALICE in it. A worker is killed whenever `every` operations are done."""
    chance, tally = random.Random(seed), Tally()
    found = [Client(number, suite, tally, random.Random(chance.random())) for number in range(clients)]
    async with asyncio.TaskGroup() as group:
        killing = group.create_task(_kill(suite, tally, chance, every))
        await asyncio.gather(*(client.run(operations) for client in found))
        killing.cancel()
    for client in found:
        await client.check()
    return tally


async def _kill(suite: ImapSuite, tally: Tally, chance: random.Random, every: int) -> None:
    """The workers among the processes of the service: not the master, which starts them anew."""
    master = suite.pids()["imap"]
    while True:
        await asyncio.sleep(chance.uniform(0, 0.02))
        if tally.operations.total() < (tally.kills + 1) * every:
            continue
        workers = [one.pid for one in processes.of_suite(suite.place) if one.parent == master]
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
                tally.kills += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operations", type=int, default=5000, help="that have to be acknowledged")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--every", type=int, default=50, metavar="OPERATIONS", help="between two kills")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        suite = ImapSuite(Path(folder))
        try:
            suite.start(processes=WORKERS)
            tally = asyncio.run(
                run(
                    suite,
                    operations=options.operations,
                    clients=options.clients,
                    every=options.every,
                    seed=options.seed,
                )
            )
            suite.ok("mailbox", "check", "--all")
        finally:
            suite.take_down()
    print(f"{tally.kills} SIGKILLs; acknowledged, and there: {tally.operations.total()} ({dict(tally.operations)})")
    print(f"not answered: {tally.unanswered.total()}, of these done: {tally.done_all_the_same}; mailboxes are whole")


if __name__ == "__main__":
    main()
