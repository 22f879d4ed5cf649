"""Random commands on one mailbox from many connections, and what each of them sees, kept count of.

Each connection keeps the view that a client would have, message numbers and all, from what the server tells it; what
no server may say (RFC 9051 §5.5, §7.5.1) is a ProtocolError. A ledger of what all have done says in the end which
messages have to be there. Runs against any server: `python -m tests.support.imap_stress --port 2143 --user …`.
"""

import argparse
import asyncio
import contextlib
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from tests.support.imap_client import Answer, ImapClient, ProtocolError, Value, numbers, pairs

BOX, OTHER = "Stress", "Stressed"

CONVERGE_S = 20.0
"""How long the last news may take to be everywhere: hints may be lost on a busy machine."""

_FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "\\Draft", "$Junk", "keyword")
_QUIET = ("FETCH", "STORE", "SEARCH")
"""Commands by message numbers, in whose answers no number may change. RFC 9051 §7.5.1."""
_MOST_MESSAGES = 300
"""Above that more are removed than added."""


@dataclass(slots=True)
class Message:
    """As one view knows it."""

    uid: int | None = None
    flags: frozenset[str] | None = None
    modseq: int = 0


@dataclass(slots=True)
class Ledger:
    """What all connections together have done and seen."""

    tokens: dict[int, str] = field(default_factory=dict)
    """UID to the subject of the message, in BOX."""
    other: dict[int, str] = field(default_factory=dict)
    """The same of OTHER, where nothing is removed."""
    doomed: set[int] = field(default_factory=set)
    """UIDs that somebody wanted to be gone."""
    gone: set[int] = field(default_factory=set)
    """UIDs that a view was told to be gone, or that were moved."""
    excuses: int = 0
    """COPY and MOVE that were answered NO, as some of the messages had gone; some servers do the rest all the same."""
    uid_validity: int = 0
    commands: Counter[str] = field(default_factory=Counter)

    def is_token(self, uid: int, token: str) -> None:
        """Raises ProtocolError when that UID was another message's."""
        if self.tokens.setdefault(uid, token) != token:
            raise ProtocolError(f"UID {uid} is {token}, and was {self.tokens[uid]}")


class View:
    """What a client knows of the mailbox that it has selected."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.messages: list[Message] = []
        self.doing = ""
        self.tells_uids = False
        """QRESYNC is on: VANISHED for EXPUNGE, and a UID in each FETCH that nobody has asked for. RFC 7162 §3.2."""

    @property
    def known(self) -> list[int]:
        """UIDs, of those messages whose UID it knows."""
        return [message.uid for message in self.messages if message.uid is not None]

    def hear(self, response: list[Value]) -> None:
        match response:
            case [bytes(number), b"EXISTS"]:
                self._exists(int(number))
            case [bytes(number), b"EXPUNGE"]:
                self._expunge(int(number))
            case [bytes(number), b"FETCH", values]:
                self._fetch(int(number), values)
            case [b"VANISHED", bytes(uids)]:
                self._vanished(list(numbers(uids)))

    def _exists(self, number: int) -> None:
        if number < len(self.messages):
            raise ProtocolError(f"{number} EXISTS of {len(self.messages)} in {self.doing}")
        self.messages += (Message() for _ in range(number - len(self.messages)))

    def _expunge(self, number: int) -> None:
        if self.tells_uids:
            raise ProtocolError("EXPUNGE for VANISHED")
        self._refuse_in_quiet_command("EXPUNGE")
        if not 0 < number <= len(self.messages):
            raise ProtocolError(f"{number} EXPUNGE of {len(self.messages)} in {self.doing}")
        self._has_gone(self.messages.pop(number - 1).uid)

    def _vanished(self, uids: list[int]) -> None:
        if not self.tells_uids:
            raise ProtocolError("VANISHED for EXPUNGE")
        self._refuse_in_quiet_command("VANISHED")
        for uid in uids:
            after = next((at for at, one in enumerate(self.messages) if (one.uid or 0) > uid), len(self.messages))
            before = self.messages[:after]
            if uid in (message.uid for message in before):
                at = next(at for at, message in enumerate(before) if message.uid == uid)
            elif before and before[-1].uid is None:  # one whose UID it has not asked for, no matter which
                at = after - 1
            else:
                raise ProtocolError(f"VANISHED {uid}, which is not there, in {self.doing}")
            del self.messages[at]
            self._has_gone(uid)

    def _refuse_in_quiet_command(self, what: str) -> None:
        if self.doing.startswith(_QUIET):
            raise ProtocolError(f"{what} in {self.doing}")

    def _has_gone(self, uid: int | None) -> None:
        if uid is not None:
            self._ledger.gone.add(uid)
            if uid not in self._ledger.doomed:
                raise ProtocolError(f"UID {uid} is gone, and nobody wanted that")

    def _fetch(self, number: int, values: Value) -> None:
        if not 0 < number <= len(self.messages):
            raise ProtocolError(f"{number} FETCH of {len(self.messages)} in {self.doing}")
        message = self.messages[number - 1]
        found = dict(pairs(values))
        if (uid := found.get(b"UID")) is not None:
            assert isinstance(uid, bytes)
            self._is_uid(number, int(uid))
        elif self.tells_uids and not self.doing.startswith("FETCH"):
            raise ProtocolError(f"FETCH without UID in {self.doing}")
        if isinstance(modseq := found.get(b"MODSEQ"), list) and isinstance(modseq[0], bytes):
            if int(modseq[0]) < message.modseq:
                raise ProtocolError(f"MODSEQ {modseq[0]!r} after {message.modseq} in {self.doing}")
            message.modseq = int(modseq[0])
        if isinstance(flags := found.get(b"FLAGS"), list):
            words = [flag.decode() for flag in flags if isinstance(flag, bytes)]
            if len(set(words)) < len(words):
                raise ProtocolError(f"a flag twice: {words}")
            message.flags = frozenset(words) - {"\\Recent"}
        for name, value in found.items():
            if name.startswith(b"BODY[HEADER.FIELDS") and message.uid is not None and isinstance(value, bytes):
                self._ledger.is_token(message.uid, value.decode().strip().removeprefix("Subject: "))

    def _is_uid(self, number: int, uid: int) -> None:
        message = self.messages[number - 1]
        if message.uid is None:
            before = [other.uid for other in self.messages[: number - 1] if other.uid is not None]
            after = [other.uid for other in self.messages[number:] if other.uid is not None]
            if (before and before[-1] >= uid) or (after and after[0] <= uid):
                raise ProtocolError(f"message {number} has UID {uid}, between {before[-1:]} and {after[:1]}")
            message.uid = uid
        elif message.uid != uid:
            raise ProtocolError(f"message {number} has UID {uid}, and had {message.uid}, in {self.doing}")


class Stresser:
    """One connection."""

    def __init__(
        self, number: int, connect: Callable[[], Awaitable[ImapClient]], ledger: Ledger, chance: random.Random
    ) -> None:
        self._number = number
        self._connect = connect
        self._ledger = ledger
        self._chance = chance
        self._sent = 0
        self._uses_qresync = number % 3 == 0
        self.view = View(ledger)
        self._client: ImapClient
        self._doings: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (5, self._noop),
            (6, self._idle),
            (14, self._append),
            (14, self._store),
            (5, self._delete),
            (6, self._expunge),
            (12, self._fetch),
            (8, self._fetch_uid),
            (8, self._search),
            (4, self._copy),
            (4, self._move),
            (2, self._select_again),
            (1, self._connect_again),
        ]

    async def begin(self) -> None:
        self._client = await self._connect()
        if self._uses_qresync:
            await self._client.ok("ENABLE QRESYNC")
        await self._select()

    async def run(self, until: float) -> None:
        weights, doings = zip(*self._doings, strict=True)
        while time.monotonic() < until:
            (doing,) = self._chance.choices(doings, weights)
            self._ledger.commands[doing.__name__.strip("_")] += 1
            await doing()

    async def end(self) -> None:
        await self._client.log_out()

    # Doings

    async def _select(self) -> None:
        self.view = View(self._ledger)
        self.view.tells_uids = self._uses_qresync
        self._client.hear = self.view.hear
        answer = await self._say(f"SELECT {BOX}")
        for _, text in answer.all(b"OK"):
            assert isinstance(text, bytes)
            if text.startswith(b"OK [UIDVALIDITY "):
                found = int(text[len("OK [UIDVALIDITY ") : text.index(b"]")])
                self._ledger.uid_validity = self._ledger.uid_validity or found
                if found != self._ledger.uid_validity:
                    raise ProtocolError(f"UIDVALIDITY {found}, was {self._ledger.uid_validity}")
        if self.view.messages:
            await self._say("FETCH 1:* (UID FLAGS)")

    async def _noop(self) -> None:
        await self._say(self._chance.choice(("NOOP", "NOOP", "CHECK")))

    async def _idle(self) -> None:
        self.view.doing = "IDLE"
        await self._client.idle(lambda: False, self._chance.uniform(0, 0.1))

    async def _append(self) -> None:
        if len(self.view.messages) > _MOST_MESSAGES and self._chance.random() < 0.7:
            return
        self._sent += 1
        token = f"{self._number}-{self._sent}"
        body = b"0123456789\r\n" * self._chance.choice((0, 1, 10, 1000))
        flags = " ".join(self._chance.sample(_FLAGS, self._chance.randrange(3)))
        octets = f"Subject: {token}\r\n\r\n".encode() + body
        answer = await self._say(f"APPEND {BOX} ({flags}) {{}}", octets)
        match answer.code:
            case ["APPENDUID", _, uid]:
                if int(uid) in self._ledger.tokens and self._ledger.tokens[int(uid)] != token:
                    raise ProtocolError(f"APPENDUID {uid} twice")
                self._ledger.is_token(int(uid), token)
            case code:
                raise ProtocolError(f"APPEND without APPENDUID: {code}")

    async def _store(self) -> None:
        with self._some() as (prefix, messages):
            how = self._chance.choice(("+", "-", "+", "-", ""))
            silent = self._chance.choice(("", ".SILENT"))
            flags = " ".join(self._chance.sample(_FLAGS, self._chance.randrange(1, 3)))
            if silent:
                self._forget_flags()
            await self._say(f"{prefix}STORE {messages} {how}FLAGS{silent} ({flags})")
            if silent:
                self._forget_flags()

    async def _delete(self) -> None:
        if uids := self._known(5):
            self._ledger.doomed.update(uids)
            await self._say(f"UID STORE {_set(uids)} +FLAGS (\\Deleted)")

    async def _expunge(self) -> None:
        uids = self._known(20)
        if uids and self._chance.random() < 0.5:
            await self._say(f"UID EXPUNGE {_set(uids)}")
        else:
            await self._say("EXPUNGE")

    async def _fetch(self) -> None:
        with self._some() as (prefix, messages):
            items = self._chance.choice(
                ("FLAGS", "(UID FLAGS RFC822.SIZE)", "(UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])", "(UID FLAGS ENVELOPE)")
            )
            await self._say(f"{prefix}FETCH {messages} {items}")

    async def _fetch_uid(self) -> None:
        await self._say("UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")

    async def _search(self) -> None:
        prefix = self._chance.choice(("", "UID "))
        criterion = self._chance.choice(("ALL", "SEEN", "UNDELETED", "KEYWORD keyword", "OR FLAGGED DRAFT"))
        answer = await self._say(f"{prefix}SEARCH {criterion}")
        for _, *found in answer.all(b"SEARCH"):
            hits = [int(hit) for hit in found if isinstance(hit, bytes)]
            if len(set(hits)) < len(hits):
                raise ProtocolError(f"SEARCH tells one twice: {hits}")
            if not prefix and hits and max(hits) > len(self.view.messages):
                raise ProtocolError(f"SEARCH {max(hits)} of {len(self.view.messages)}")

    async def _copy(self) -> None:
        if uids := self._known(3):
            await self._copied(await self._say(f"UID COPY {_set(uids)} {OTHER}"), uids)

    async def _move(self) -> None:
        if uids := self._known(3):
            self._ledger.doomed.update(uids)
            answer = await self._say(f"UID MOVE {_set(uids)} {OTHER}")
            codes = [text[4:-1] for _, text in answer.all(b"OK") if isinstance(text, bytes) and b"[COPYUID" in text]
            moved = await self._copied(answer, uids, *codes)
            self._ledger.gone |= moved

    async def _copied(self, answer: Answer, uids: list[int], *codes: bytes) -> set[int]:
        """UIDs that were."""
        self._ledger.excuses += answer.status != "OK"
        words = (
            answer.code
            if answer.code[:1] == ["COPYUID"]
            else (codes[0].decode().partition("]")[0].split() if codes else [])
        )
        if not words or words[0] != "COPYUID":
            return set()  # all of them had gone before
        sources, copies = ([*numbers(word.encode())] for word in words[2:4])
        if len(sources) != len(copies) or not {*sources} <= {*uids}:
            raise ProtocolError(f"COPYUID {words} of {uids}")
        for source, copy in zip(sources, copies, strict=True):
            if copy in self._ledger.other:
                raise ProtocolError(f"COPYUID {copy} twice")
            self._ledger.other[copy] = self._ledger.tokens.get(source, "")
        return {*sources}

    async def _select_again(self) -> None:
        await self._say("UNSELECT")
        await self._select()

    async def _connect_again(self) -> None:
        if self._chance.random() < 0.5:
            await self._client.log_out()
        else:
            self._client.cut()
        await self.begin()

    # What they have in common

    async def _say(self, command: str, *literals: bytes) -> Answer:
        self.view.doing = command
        answer = await self._client.command(command, *literals)
        self.view.doing = ""
        if answer.status != "OK" and answer.code != ["EXPUNGEISSUED"]:  # the one excuse there is. RFC 5530 §3
            raise ProtocolError(f"{command}: {answer.status} {answer.text}")
        return answer

    def _known(self, most: int) -> list[int]:
        known = self.view.known
        return self._chance.sample(known, min(len(known), self._chance.randint(1, most)))

    @contextlib.contextmanager
    def _some(self) -> Iterator[tuple[str, str]]:
        """A prefix for a command, and messages for it: by number where there are any."""
        count = len(self.view.messages)
        if count and self._chance.random() < 0.6:
            ends = sorted(self._chance.randint(1, count) for _ in range(2))
            yield "", f"{ends[0]}:{min(ends[1], ends[0] + 20)}"
        else:
            yield "UID ", _set(self._known(10) or [1])

    def _forget_flags(self) -> None:
        for message in self.view.messages:
            message.flags = None

    # The end

    async def catch_up(self, expected: list[tuple[int, frozenset[str]]]) -> str | None:
        """What this view still differs in after NOOP; None: nothing."""
        await self._say("NOOP")
        uids = dict(expected)
        if len(self.view.messages) != len(expected):
            return f"{len(self.view.messages)} messages of {len(expected)}"
        for message, uid in zip(self.view.messages, uids, strict=True):
            if message.uid not in (None, uid):
                return f"UID {message.uid} for {uid}"
            if message.flags not in (None, uids[uid]):
                return f"UID {uid} has {uids[uid]}, this view says {message.flags}"
        return None


def _set(uids: list[int]) -> str:
    return ",".join(map(str, uids))


async def contents(client: ImapClient, box: str) -> list[tuple[int, frozenset[str], str]]:
    """UID, flags and subject of all messages, as a client sees them that comes new."""
    await client.ok(f"EXAMINE {box}")
    found: list[tuple[int, frozenset[str], str]] = []
    answer = await client.ok("UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    for _, _, values in answer.all(b"FETCH"):
        uid, flags, token = 0, frozenset[str](), ""
        for name, value in pairs(values):
            if name == b"UID" and isinstance(value, bytes):
                uid = int(value)
            elif name == b"FLAGS" and isinstance(value, list):
                flags = frozenset(flag.decode() for flag in value if isinstance(flag, bytes)) - {"\\Recent"}
            elif isinstance(value, bytes):
                token = value.decode().strip().removeprefix("Subject: ")
        found.append((uid, flags, token))
    return found


async def stress(
    connect: Callable[[], Awaitable[ImapClient]], *, connections: int, seconds: float, seed: int
) -> Ledger:
    """Raises ProtocolError with what went wrong. `connect` logs in."""
    ledger = Ledger()
    chance = random.Random(seed)
    judge = await connect()
    for box in (BOX, OTHER):
        await judge.ok(f"CREATE {box}")
    stressers = [Stresser(number, connect, ledger, random.Random(chance.random())) for number in range(connections)]
    await asyncio.gather(*(one.begin() for one in stressers))
    until = time.monotonic() + seconds
    async with asyncio.TaskGroup() as group:
        for one in stressers:
            group.create_task(one.run(until))
    left = await contents(judge, BOX)
    _check_ledger(ledger, left, await contents(judge, OTHER))
    expected = [(uid, flags) for uid, flags, _ in left]
    for one in stressers:
        deadline = time.monotonic() + CONVERGE_S
        while (difference := await one.catch_up(expected)) is not None:
            if time.monotonic() > deadline:
                raise ProtocolError(f"a view does not converge: {difference}")
            await asyncio.sleep(0.05)
        await one.end()
    await judge.log_out()
    return ledger


def _check_ledger(
    ledger: Ledger, left: list[tuple[int, frozenset[str], str]], other: list[tuple[int, frozenset[str], str]]
) -> None:
    there = {uid: token for uid, _, token in left}
    if len(there) < len(left):
        raise ProtocolError("a UID twice")
    for uid, token in ledger.tokens.items():
        if uid in there and there[uid] != token:
            raise ProtocolError(f"UID {uid} is {there[uid]}, and was {token}")
        if uid in there and uid in ledger.gone:
            raise ProtocolError(f"UID {uid} is back")
        if uid not in there and uid not in ledger.doomed:
            raise ProtocolError(f"UID {uid} is lost")
    if unknown := there.keys() - ledger.tokens.keys():
        raise ProtocolError(f"nobody has added {unknown}")
    copied = {uid: token for uid, _, token in other}
    if lost := ledger.other.keys() - copied.keys():
        raise ProtocolError(f"copies lost: {lost}")
    if (more := copied.keys() - ledger.other.keys()) and not ledger.excuses:
        raise ProtocolError(f"copies that nobody has made: {more}")
    for uid, token in ledger.other.items():
        if token and copied[uid] != token:
            raise ProtocolError(f"the copy {uid} is {copied[uid]}, and was {token}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True, help="in clear, on this host")
    parser.add_argument("--user", required=True)
    parser.add_argument("--password", default=os.environ.get("PASSWORD", ""), help="default: $PASSWORD")
    parser.add_argument("--connections", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()

    async def connect() -> ImapClient:
        client = await ImapClient.connect(options.port)
        await client.log_in(options.user, options.password)
        return client

    print(f"seed {options.seed}", flush=True)
    ledger = asyncio.run(stress(connect, connections=options.connections, seconds=options.seconds, seed=options.seed))
    total = sum(ledger.commands.values())
    print(f"{total} commands, {len(ledger.tokens)} messages, {len(ledger.other)} copies: no error, all views agree")
    print(", ".join(f"{name} {count}" for name, count in ledger.commands.most_common()))


if __name__ == "__main__":
    main()
