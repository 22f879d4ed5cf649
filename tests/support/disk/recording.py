"""The real SMTP and spool workers under strace, with a few messages on every way that a message can take."""

import asyncio
import os
import signal
import smtplib
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from maillib.address import Address
from maillib.embedded.directory import EmbeddedDirectory
from maillib.settings.service import Listener
from maillib.settings.smtp import SmtpSettings
from maillib.settings.spool import SpoolSettings
from tests.support.disk import engine_work, strace
from tests.support.disk.model import Disk
from tests.support.disk.promises import FOLDERS, IGNORED
from tests.support.program import PATIENCE_S, Program, until

ROOT = Path(__file__).resolve().parents[3]
WORKERS = ROOT / "workers"
SITES = Path(__file__).with_name("sites")
ENGINE_WORK = Path(__file__).with_name("engine_work.py")

ALICE, BOB = "alice@example.test", "bob@example.test"
TEAM = "team@example.test"
"""An alias of alice and bob."""
ABROAD = "abroad@example.test"
"""An alias of bob and somebody in another domain, who has to wait."""
GONE = engine_work.GONE
"""An alias of alice, until it is removed: a message that waits for it is then returned to its sender."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that got its 250."""

    queue_id: str
    sender: str
    recipient: str
    octets: bytes


@dataclass
class Recording:
    """What has happened; `trace` and `before` lie in `folder`."""

    folder: Path
    sent: list[Sent] = field(default_factory=list)

    @property
    def state_dir(self) -> Path:
        return self.folder / "var"

    @property
    def before(self) -> Path:
        """The state directory as it was when the trace began."""
        return self.folder / "before"

    def lines(self) -> list[str]:
        return (self.folder / "trace").read_text("ascii").splitlines()

    def disk(self, lines: Sequence[str]) -> Disk:
        return Disk(self.state_dir, self.before, FOLDERS, strace.parents(lines), ignored=IGNORED)


def record(folder: Path, *, skipped_site: str = "") -> Recording:
    """Run the scenario below in `folder`, which is empty. `skipped_site`: see `sites/sitecustomize.py`."""
    made = Recording(folder.resolve())
    smtp = Program(made.folder, WORKERS / "smtp.py", name="smtp")
    spool = Program(made.folder, WORKERS / "spool.py", name="spool")
    asyncio.run(_furnish(made.state_dir))
    subprocess.run(["cp", "-a", made.state_dir, made.before], check=True)
    listener = Listener(host="127.0.0.1", port=smtp.port, tls="none", role="mx")
    smtp.change(protocol="smtp", settings=SmtpSettings(), processes=1, listen=(listener,))
    spool.change(protocol="spool", settings=SpoolSettings(), processes=1, listen=())
    # One strace for all, so that the calls are in one order; a line said to the shell makes it go on.
    script = f"""
        {sys.executable} {smtp.script} --config {smtp.file} &
        read line
        {sys.executable} {ENGINE_WORK} forget {made.state_dir}
        {sys.executable} {spool.script} --config {spool.file} &
        wait
    """
    with _traced(made, ["sh", "-c", script], skipped_site) as traced:
        try:
            until(lambda: smtp.status().get("state") == "running", "the SMTP worker")
            _send_all(made, smtp.port, [(BOB, GONE), *[("one@elsewhere.test", TEAM)] * 3])
            assert traced.stdin is not None
            traced.stdin.write("\n")
            traced.stdin.flush()
            until(lambda: spool.status().get("state") == "running", "the spool worker")
            _send_all(made, smtp.port, [("two@elsewhere.test", one) for one in (TEAM, ALICE, BOB, ABROAD, TEAM)])
            until(lambda: _is_at_rest(made.state_dir, deferred=1), "rest")
            _send_all(made, smtp.port, [("three@elsewhere.test", ABROAD)])  # alone: no other message's syncs serve it
            until(lambda: _is_at_rest(made.state_dir, deferred=2), "rest")
            for one in (smtp, spool):
                pid = one.status()["pid"]
                assert isinstance(pid, int)
                os.kill(pid, signal.SIGTERM)
            assert traced.wait(PATIENCE_S) == 0
        finally:
            traced.kill()
            for one in (smtp, spool):
                one.clear()
    return made


def record_engine(folder: Path, engine: str, *, skipped_site: str = "") -> Recording:
    """One engine alone, as `engine_work.py` uses it; `engine` is one of its names."""
    made = Recording(folder.resolve())
    made.state_dir.mkdir()
    script = [sys.executable, str(ENGINE_WORK)]
    if engine == "index":
        subprocess.run([*script, "prepare", made.state_dir], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    subprocess.run(["cp", "-a", made.state_dir, made.before], check=True)
    with _traced(made, [*script, engine, str(made.state_dir)], skipped_site) as traced:
        assert traced.wait(PATIENCE_S) == 0
    return made


def _traced(made: Recording, command: Sequence[str], skipped_site: str) -> "subprocess.Popen[str]":
    sites = made.folder / "sites"
    sites.mkdir()
    (sites / "skip").write_text(skipped_site)
    return subprocess.Popen(
        ["strace", *strace.OPTIONS, "-o", str(made.folder / "trace"), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(SITES), str(sites)))},
        text=True,
    )


def seen_sites(made: Recording) -> list[str]:
    """Every place that has synced."""
    places = {line for file in (made.folder / "sites").glob("seen-*") for line in file.read_text().splitlines()}
    return sorted(places)


async def _furnish(state_dir: Path) -> None:
    directory = EmbeddedDirectory(state_dir)
    await directory.add_domain("example.test")
    for user in (ALICE, BOB):
        await directory.add_account(Address.parse(user))
    for alias, targets in ((TEAM, (ALICE, BOB)), (GONE, (ALICE,)), (ABROAD, (BOB, "partner@elsewhere.test"))):
        await directory.add_alias(Address.parse(alias), [Address.parse(target) for target in targets])
    await directory.close()


def _send_all(made: Recording, port: int, pairs: Sequence[tuple[str, str]]) -> None:
    """All at the same time, each on its own connection."""

    def send(number: int, sender: str, recipient: str) -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE_S) as client:
            client.ehlo()
            client.mail(sender)
            assert client.rcpt(recipient)[0] == 250
            octets = f"Subject: {number}\r\n\r\n".encode() + b"0123456789\r\n" * (number * 5000 + 1)
            code, reply = client.data(octets)
            assert code == 250, reply
            made.sent.append(Sent(reply.decode().rpartition(" ")[2], sender, recipient, octets))

    threads = [threading.Thread(target=send, args=(number, *pair)) for number, pair in enumerate(pairs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.queue_id for one in made.sent}) == len(made.sent)


def _is_at_rest(state_dir: Path, *, deferred: int) -> bool:
    """Only the messages that wait for another domain are left."""
    spool = state_dir / "spool"
    waiting = [path for path in spool.rglob("*.json") if path.parent.name != "deferred"]
    left = list((spool / "messages").iterdir()), list((spool / "deferred").glob("*.json"))
    return not waiting and all(len(files) == deferred for files in left)
