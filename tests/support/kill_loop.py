"""SIGKILL of every kind of process of a suite, again and again, while clients send; and a ledger of what was promised.

    python -m tests.support.kill_loop --kills 200 --sends 5000 --accounts 50

A client that got no answer after the end of its message sends it again, as a real one would: that makes another
message with a queue ID of its own, and is counted apart. What the suite answers for is counted by queue ID, which
stands in the Received field of every copy: each 250 is in each recipient's mailbox (else it is lost), and no queue ID
is there twice (doubled).
"""

import argparse
import asyncio
import contextlib
import os
import random
import re
import signal
import smtplib
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from maillib.address import Address
from maillib.embedded.directory import EmbeddedDirectory
from orchestrator import processes
from tests.support.mail_suite import MailSuite
from tests.support.stored_mail import stored_mail

DOMAIN = "example.test"

ANSWER_S = 20.0
"""A client that hears nothing for so long takes its connection for broken."""

REST_S = 240.0
"""From the last kill to the last delivery: a message over which processes died several times waits for minutes."""

_QUEUE_ID = re.compile(r"queued as ([0-9A-Za-z]+)")
_RECEIVED_ID = re.compile(rb"\bid ([0-9A-Za-z]+)[;\r\s]")
_SUBJECT = re.compile(rb"^Subject: (\S+)\r$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Promise:
    """A 250."""

    queue_id: str
    tag: str
    recipients: tuple[str, ...]


@dataclass
class Ledger:
    """What clients sent and what they were told. For several threads."""

    promises: list[Promise] = field(default_factory=list)
    unanswered: Counter[str] = field(default_factory=Counter)
    """By tag: how often a whole message was sent and the connection broke before the reply."""
    refusals: Counter[str] = field(default_factory=Counter)
    """Replies other than 250, and connections that broke earlier."""


@dataclass(frozen=True, slots=True)
class Result:
    kills: Counter[str]
    acknowledged: int
    lost: tuple[str, ...]
    """`QUEUE-ID ACCOUNT` of each copy that was promised and is not there."""
    doubled: tuple[str, ...]
    """`QUEUE-ID ACCOUNT` of each that is there more than once."""
    resent: int
    """Messages that clients sent again because a connection had broken after the end of the message."""
    arrived_by_resending: int
    """Of these, the ones that are there under more than one queue ID: explained by the client, not by the suite."""
    unexplained: tuple[str, ...]
    """Copies that no client's act explains."""
    damage: tuple[str, ...]
    """What `check` says of spool and mailboxes."""
    status: int
    """Exit status of `postroom status` when all is at rest."""
    seconds: float

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.unexplained or self.damage or self.status)

    def lines(self) -> list[str]:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.kills.items()))
        return [
            f"SIGKILLs: {self.kills.total()} ({kinds}) in {self.seconds:.0f} s",
            f"acknowledged {self.acknowledged}, lost {len(self.lost)}, doubled {len(self.doubled)},"
            f" unexplained {len(self.unexplained)}; sent again by clients {self.resent},"
            f" of these there twice {self.arrived_by_resending}",
            f"status at the end: {self.status}; damage: {len(self.damage)}",
            *(f"lost: {one}" for one in self.lost[:20]),
            *(f"doubled: {one}" for one in self.doubled[:20]),
            *(f"unexplained: {one}" for one in self.unexplained[:20]),
            *(f"damage: {one}" for one in self.damage[:20]),
        ]


class KillLoop:
    """One run in `folder`; the suite is down when `run` has returned."""

    def __init__(self, folder: Path, *, kills: int, sends: int, accounts: int, seed: int) -> None:
        self._suite = MailSuite(folder)
        self._kills_wanted = kills
        self._sends = sends
        self._users = [f"user{number}@{DOMAIN}" for number in range(accounts)]
        self._chance = random.Random(seed)
        self._ledger = Ledger()
        self._kills: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._next = 0
        self._kills_done = threading.Event()

    def run(self, clients: int = 8) -> Result:
        begun = time.monotonic()
        self._suite.write(self._suite.spec(processes=2))
        self._suite.ok("domain", "add", DOMAIN)
        asyncio.run(self._furnish())
        self._suite.ok("apply")
        try:
            threads = [threading.Thread(target=self._client, args=(number,)) for number in range(clients)]
            for thread in threads:
                thread.start()
            try:
                while self._kills.total() < self._kills_wanted:
                    time.sleep(self._chance.uniform(0.05, 0.6))
                    self._kill_one()
            finally:
                self._kills_done.set()
                for thread in threads:
                    thread.join()
            status = self._rest()
        finally:
            self._suite.take_down()
        return self._settle(status, time.monotonic() - begun)

    async def _furnish(self) -> None:
        directory = EmbeddedDirectory(self._suite.place.state_dir)
        for user in self._users:
            await directory.add_account(Address.parse(user))
        await directory.close()

    # Clients

    def _take(self) -> int | None:
        """The number of the next message. They last as long as there are kills, and are as many as was asked for."""
        with self._lock:
            if self._next >= self._sends and self._kills_done.is_set():
                return None
            self._next += 1
            return self._next

    def _client(self, seed: int) -> None:
        chance = random.Random(seed)
        while (number := self._take()) is not None:
            recipients = tuple(chance.sample(self._users, min(len(self._users), chance.choice((1, 1, 1, 3)))))
            tag = f"message-{number}"
            octets = f"Subject: {tag}\r\n\r\n".encode() + b"0123456789abcdef\r\n" * chance.choice((1, 50, 700, 8000))
            while not self._send(tag, recipients, octets):
                time.sleep(chance.uniform(0.02, 0.2))
            if self._next >= self._sends:  # only kills are wanted still
                time.sleep(0.2)

    def _send(self, tag: str, recipients: tuple[str, ...], octets: bytes) -> bool:
        """One attempt, on a connection of its own; whether it was acknowledged."""
        is_out = False
        try:
            with smtplib.SMTP("127.0.0.1", self._suite.mx, timeout=ANSWER_S) as client:
                client.ehlo("client.elsewhere.test")
                client.mail("sender@elsewhere.test")
                for recipient in recipients:
                    code, _ = client.rcpt(recipient)
                    if code != 250:
                        raise smtplib.SMTPResponseException(code, f"to {recipient}")
                code, _ = client.docmd("DATA")
                if code != 354:
                    raise smtplib.SMTPResponseException(code, "to DATA")
                is_out = True  # part of it may arrive whatever happens to our end now
                client.send(octets + b".\r\n")
                code, reply = client.getreply()
                is_out = False
                with self._lock:
                    if code == 250:
                        found = _QUEUE_ID.search(reply.decode())
                        assert found, reply
                        self._ledger.promises.append(Promise(found[1], tag, recipients))
                    else:
                        self._ledger.refusals[str(code)] += 1
                with contextlib.suppress(OSError, smtplib.SMTPException):  # a broken QUIT changes nothing
                    client.quit()
                return code == 250
        except (OSError, smtplib.SMTPException) as error:
            with self._lock:
                self._ledger.refusals[type(error).__name__] += 1
                if is_out:
                    self._ledger.unanswered[tag] += 1
            return False

    # Kills

    def processes(self) -> dict[str, list[int]]:
        """What runs, by kind: `supervisord`, `agent`, `NAME master`, `NAME worker`, `NAME disk` (a worker's fork)."""
        kinds: dict[str, list[int]] = {}
        seen: dict[int, str] = {}
        running = {process.pid: process for process in processes.of_suite(self._suite.place)}
        for pid in running:
            with contextlib.suppress(OSError):  # it has ended meanwhile
                seen[pid] = self._kind(pid)
        for pid, kind in seen.items():
            is_fork = seen.get(running[pid].parent) == kind and kind.endswith(" worker")
            kinds.setdefault(kind.replace(" worker", " disk") if is_fork else kind, []).append(pid)
        return kinds

    def _kind(self, pid: int) -> str:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
        if words == [""]:
            raise ProcessLookupError(f"process {pid} has ended")
        for word in words:
            name = Path(word).name
            if word == "supervisor.supervisord":
                return "supervisord"
            if name == "agent.py":
                return "agent"
            if Path(word).parent.name == "workers":
                # A worker is told its file itself, a master a link to it.
                return f"{Path(name).stem} {'master' if any('/live/' in one for one in words) else 'worker'}"
        raise AssertionError(f"process {pid} is none of ours: {words}")

    def _kill_one(self) -> None:
        kinds = self.processes()
        if not kinds:
            raise AssertionError("nothing of the suite runs")
        kind = min(kinds, key=lambda one: (self._kills[one], self._chance.random()))  # the one killed least often
        try:
            os.kill(self._chance.choice(kinds[kind]), signal.SIGKILL)
        except ProcessLookupError:
            return
        self._kills[kind] += 1
        if kind == "supervisord":
            self._apply()

    def _apply(self) -> None:
        """What a person does when supervisord is gone. Other kills may come between, so not only once."""
        for _ in range(5):
            done = self._suite.run("apply")
            if done.code == 0:
                return
        raise AssertionError(f"apply after the death of supervisord: {done}")

    # The end

    def _rest(self) -> int:
        """Wait until all is as wanted and nothing is queued; what `status` exits with."""
        deadline = time.monotonic() + REST_S
        status = self._suite.run("status")
        while time.monotonic() < deadline:
            if status.code == 0 and not self._queued():
                break
            time.sleep(0.2)
            if status.code:
                status = self._suite.run("status")
        return self._suite.run("status").code

    def _queued(self) -> int:
        return len(self._suite.ok("queue", "list", "--json").json["messages"])

    def _settle(self, status: int, seconds: float) -> Result:
        there, damage = asyncio.run(self._mailboxes())
        state_dir = self._suite.place.state_dir
        damage += [f"still in the spool: {path.name}" for path in (state_dir / "spool").rglob("*.json")]
        promised = {(one.queue_id, user) for one in self._ledger.promises for user in one.recipients}
        copies = Counter((queue_id, user) for queue_id, _, user in there)
        ids: dict[str, set[str]] = {}
        for queue_id, tag, _ in there:
            ids.setdefault(tag, set()).add(queue_id)
        promised_ids = Counter(one.tag for one in self._ledger.promises)
        return Result(
            kills=self._kills,
            acknowledged=len(self._ledger.promises),
            lost=tuple(sorted(f"{queue_id} {user}" for queue_id, user in promised - copies.keys())),
            doubled=tuple(sorted(f"{queue_id} {user}" for (queue_id, user), count in copies.items() if count > 1)),
            resent=self._ledger.unanswered.total(),
            arrived_by_resending=sum(len(found) > 1 for found in ids.values()),
            unexplained=tuple(
                sorted(
                    f"{tag}: {' '.join(sorted(found))}"
                    for tag, found in ids.items()
                    if len(found) > promised_ids[tag] + self._ledger.unanswered[tag]
                )
            ),
            damage=tuple(damage),
            status=status,
            seconds=seconds,
        )

    async def _mailboxes(self) -> tuple[list[tuple[str, str, str]], list[str]]:
        """Queue ID, tag and user of every copy that is stored, and what is wrong with the mailboxes."""
        mail = await stored_mail(self._suite.place.state_dir, self._users, most_octets=1000)
        there: list[tuple[str, str, str]] = []
        damage = list(mail.damage)
        for copy in mail.copies:
            queue_id, tag = _RECEIVED_ID.search(copy.octets), _SUBJECT.search(copy.octets)
            if queue_id is None or tag is None:
                damage.append(f"{copy.user} has a message that nobody sent: {copy.octets[:100]!r}")
            else:
                there.append((queue_id[1].decode(), tag[1].decode(), copy.user))
        return there, damage


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.kill_loop", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--sends", type=int, default=5000)
    parser.add_argument("--accounts", type=int, default=50)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="postroom-kills-") as folder:
        loop = KillLoop(
            Path(folder),
            kills=arguments.kills,
            sends=arguments.sends,
            accounts=arguments.accounts,
            seed=arguments.seed,
        )
        result = loop.run()
        if not result.is_clean:
            kept = Path(tempfile.mkdtemp(prefix="postroom-kills-failed-"))
            subprocess.run(["cp", "-a", f"{folder}/.", os.fspath(kept)], check=True)
            print(f"kept: {kept}")
    print("\n".join(result.lines()))
    return 0 if result.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
