"""The POP service as it runs: `workers/pop.py`, its master and two workers, on a real store."""

import asyncio
import os
import poplib
import re
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from maillib.address import Address
from maillib.embedded.blobs import EmbeddedBlobs
from maillib.embedded.directory import EmbeddedDirectory
from maillib.embedded.index import EmbeddedIndex
from maillib.ports.index import INBOX, NewMessage
from maillib.settings.pop import PopSettings
from maillib.settings.service import Listener, TlsFiles
from orchestrator import certificates
from tests.support.program import PATIENCE_S, Program, free_port, until

SCRIPT = Path(__file__).resolve().parents[2] / "workers" / "pop.py"
PASSWORD = "open sesame"
USERS = ("alice@example.test", "bob@example.test")
BIG = b"Subject: big\r\n\r\n" + b"".join(b".%061d\r\n" % n for n in range(200_000))
SMALL = b"Subject: small\r\n\r\nhello\r\n"


async def furnish(state_dir: Path) -> None:
    """Two accounts, each with a small and a big message."""

    async def once(body: bytes) -> AsyncIterator[bytes]:
        yield body

    directory, blobs = EmbeddedDirectory(state_dir), EmbeddedBlobs(state_dir)
    index = EmbeddedIndex(state_dir, directory.account)
    await directory.add_domain("example.test")
    for user in USERS:
        account = await directory.add_account(Address.parse(user), PASSWORD)
        messages = [
            NewMessage(
                delivery_key=str(n), prefix=b"", body=await blobs.put(once(body)), internal_date=datetime.now(UTC)
            )
            for n, body in enumerate((SMALL, BIG))
        ]
        await index.append(account.id, INBOX, messages)
    for engine in (index, blobs, directory):
        await engine.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Program]:
    program = Program(tmp_path, SCRIPT)
    asyncio.run(furnish(program.state_dir))
    certificates.ensure(program.state_dir, "mail.example.test")
    tls = certificates.folder(program.state_dir)
    program.start(
        listen=(
            Listener(host="127.0.0.1", port=program.port, tls="starttls", cleartext_login=True),
            Listener(host="127.0.0.1", port=free_port(), tls="implicit"),
        ),
        tls=TlsFiles(certificate=str(tls / "cert.pem"), private_key=str(tls / "key.pem")),
        settings=PopSettings(takeover_after=1.0),
    )
    yield program
    program.clear()


def log_in(service: Program, user: str = USERS[0]) -> poplib.POP3:
    client = poplib.POP3("127.0.0.1", service.port, timeout=PATIENCE_S)
    try:
        client.user(user)
        client.pass_(PASSWORD)
    except BaseException:
        client.close()
        raise
    return client


def can_log_in(service: Program) -> bool:
    try:
        log_in(service).quit()
    except poplib.error_proto as error:
        assert b"[IN-USE]" in error.args[0]
        return False
    return True


VANISHES = f"""
import poplib, sys
client = poplib.POP3("127.0.0.1", int(sys.argv[1]), timeout={PATIENCE_S})
client.user({USERS[0]!r})
client.pass_({PASSWORD!r})
client.dele(1)
print("here", flush=True)
sys.stdin.readline()
try:
    client.quit()
except poplib.error_proto as error:
    print(error)
"""


def test_a_client_that_vanishes_keeps_nobody_out(service: Program) -> None:
    """A client that stops without a word (its host's kernel still answers for it) loses its maildrop to the next log-in
    of the same user, at whatever worker; back again, it is told so and has deleted nothing.
    """
    with subprocess.Popen(
        [sys.executable, "-c", VANISHES, str(service.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as vanished:
        assert vanished.stdin is not None
        assert vanished.stdout is not None
        try:
            assert vanished.stdout.readline() == "here\n"
            vanished.send_signal(signal.SIGSTOP)
            until(lambda: can_log_in(service), "the maildrop is free")
            vanished.send_signal(signal.SIGCONT)
            vanished.stdin.write("\n")
            vanished.stdin.flush()
            assert "[IN-USE]" in vanished.stdout.readline()
        finally:
            vanished.kill()
    assert re.search(r" maildrop-taken-over ", service.log)
    client = log_in(service)
    assert client.stat() == (2, len(SMALL) + len(BIG))
    client.quit()


def test_a_client_that_reads_nothing_costs_little_and_keeps_nobody_out(service: Program) -> None:
    """Of many big messages asked for in one flight a few pieces are in memory, and the maildrop can be had."""
    with service.client() as client:
        client.say(f"USER {USERS[0]}")
        client.say(f"PASS {PASSWORD}")
        worker = worker_of(service)
        before = resident_octets(worker)
        client.file.write(b"RETR 2\r\n" * 1000)
        client.file.flush()
        until(lambda: can_log_in(service), "the maildrop is free")
        assert resident_octets(worker) - before < 8 * 1024 * 1024


def resident_octets(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def worker_of(service: Program) -> int:
    """The process that has the one session."""
    (session,) = service.sessions()
    return int(str(session["id"]).partition(".")[0], 16)


def test_a_maildrop_is_exclusive_over_processes_and_free_after_a_kill(service: Program) -> None:
    """While a session lives nobody else gets its maildrop from any worker; killed with its process, it is free."""
    holder = log_in(service)
    holder.dele(1)
    assert not any(can_log_in(service) for _ in range(6))
    log_in(service, USERS[1]).quit()
    os.kill(worker_of(service), signal.SIGKILL)
    until(lambda: can_log_in(service), "the maildrop is free")
    holder.close()
    client = log_in(service)
    assert client.stat() == (2, len(SMALL) + len(BIG))
    client.quit()


def test_starttls_and_implicit_tls(service: Program) -> None:
    """Both listeners serve under the private CA's certificate."""
    context = ssl.create_default_context(cafile=certificates.folder(service.state_dir) / "ca.pem")
    starttls = poplib.POP3("127.0.0.1", service.port, timeout=PATIENCE_S)
    starttls.stls(context)
    implicit = poplib.POP3_SSL("127.0.0.1", service.config.listen[1].port, context=context, timeout=PATIENCE_S)
    for client, user in ((starttls, USERS[0]), (implicit, USERS[1])):
        client.user(user)
        client.pass_(PASSWORD)
        assert b"\r\n".join(client.retr(2)[1]) + b"\r\n" == BIG
        client.quit()


def test_a_stop_lets_a_fetch_end_and_the_session_go_on(service: Program) -> None:
    """Half through a RETR the service is stopped: new clients are refused, the message arrives whole, QUIT deletes."""
    with service.client() as client:
        assert client.say(f"USER {USERS[0]}").startswith(b"+OK")
        assert client.say(f"PASS {PASSWORD}").startswith(b"+OK")
        assert client.say("RETR 2").startswith(b"+OK")
        until(lambda: [row["doing"] for row in service.sessions()] == [f"RETR 2 ({len(BIG)} octets)"], "RETR under way")
        service.masters[0].send_signal(signal.SIGTERM)
        until(service.is_refused, "new clients are refused")
        message = bytearray()
        while (line := client.hear()) != b".\r\n":
            message += line.removeprefix(b".")
        assert bytes(message) == BIG
        assert client.say("DELE 1").startswith(b"+OK")
        assert client.say("QUIT").startswith(b"+OK")
    assert service.masters[0].wait(PATIENCE_S) == 0
    assert re.search(r" expunged .* messages=1\n", service.log)


def test_the_drain_limit_says_goodbye_and_deletes_nothing(service: Program) -> None:
    """A session that is idle when the drain limit passes is told so, and its deletions do not happen."""
    with service.client() as client:
        client.say(f"USER {USERS[0]}")
        client.say(f"PASS {PASSWORD}")
        assert client.say("DELE 1").startswith(b"+OK")
        service.masters[0].send_signal(signal.SIGTERM)
        until(service.is_refused, "new clients are refused")
        service.masters[0].send_signal(signal.SIGINT)
        assert client.hear() == b"-ERR [SYS/TEMP] the server is shutting down\r\n"
        assert client.hear() == b""
    assert service.masters[0].wait(PATIENCE_S) == 0
    assert "expunged" not in service.log
