"""Strangers' POP clients against sessions on the embedded store: poplib, curl, fetchmail and mutt."""

import asyncio
import os
import poplib
import pty
import shutil
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvloop

from maillib.embedded.blobs import EmbeddedBlobs
from maillib.embedded.index import EmbeddedIndex
from maillib.embedded.leases import EmbeddedLeases
from tests.support import live_port, tls
from tests.support.pop_world import LOGIN, PASSWORD, PopWorld

PREFIX = b"Return-Path: <bob@example.test>\r\nDelivered-To: alice@example.test\r\n"
HEADER = b"From: bob@example.test\r\nTo: alice@example.test\r\nSubject: hello\r\nMessage-ID: <%d@example.test>\r\n\r\n"
MESSAGES = [
    HEADER % 1 + b"one line\r\n",
    HEADER % 2 + b".\r\n..\r\n.dot\r\n\r\n\r\n",
    HEADER % 3 + b"caf\xe9 " + b"x" * 990 + b"\r\n",
    HEADER % 4 + b"".join(b".%060d\r\n" % n for n in range(4000)),
    HEADER % 5,
]


@contextmanager
def served(state_dir: Path, *, implicit_tls: bool) -> Iterator[int]:
    """A port in a thread with a loop of its own, for clients that block."""
    port: Future[int] = Future()
    stop = asyncio.Event()

    async def serve() -> None:
        world = await PopWorld(cleartext_login=False).furnish()
        blobs, leases = EmbeddedBlobs(state_dir), EmbeddedLeases(state_dir)
        index = EmbeddedIndex(state_dir, world.directory.account)
        world.blobs, world.index, world.leases = blobs, index, leases
        await world.deliver(*MESSAGES, prefix=PREFIX)
        async with live_port.serve(lambda info: world.session(tls=info.tls), implicit_tls=implicit_tls) as live:
            port.set_result(live.port)
            await stop.wait()
        for engine in (leases, blobs, index):
            await engine.close()

    def run() -> None:
        try:
            runner.run(serve())
        except BaseException as error:
            if port.done():
                raise
            port.set_exception(error)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        loop = runner.get_loop()
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield port.result(timeout=20)
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()


@pytest.fixture
def starttls_port(tmp_path: Path) -> Iterator[int]:
    with served(tmp_path, implicit_tls=False) as port:
        yield port


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[int]:
    with served(tmp_path, implicit_tls=True) as port:
        yield port


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_text(tls.authority())
    return path


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def fetched(client: poplib.POP3, number: int) -> bytes:
    return b"".join(line + b"\r\n" for line in client.retr(number)[1])


def log_in(port: int) -> poplib.POP3:
    client = poplib.POP3("127.0.0.1", port, timeout=20)
    client.stls(tls.contexts()[1])
    client.user(LOGIN)
    client.pass_(PASSWORD)
    return client


def test_poplib_fetches_every_octet(starttls_port: int) -> None:
    """What RETR gives is what was stored, and as long as LIST and STAT say."""
    client = log_in(starttls_port)
    stored = [PREFIX + message for message in MESSAGES]
    assert client.stat() == (len(stored), sum(map(len, stored)))
    assert client.list()[1] == [b"%d %d" % (n, len(message)) for n, message in enumerate(stored, 1)]
    assert [fetched(client, n) for n in range(1, len(stored) + 1)] == stored
    assert b"".join(line + b"\r\n" for line in client.top(4, 99999999)[1]) == stored[3]
    assert len(client.top(4, 7)[1]) == PREFIX.count(b"\n") + HEADER.count(b"\n") + 7
    assert client.capa()["EXPIRE"] == ["NEVER"]
    client.quit()


def test_poplib_deletes_at_quit_only(starttls_port: int) -> None:
    """A client that is cut off has deleted nothing; one that says QUIT has; unique ids stay."""
    client = log_in(starttls_port)
    before = client.uidl()[1]
    client.dele(1)
    client.close()
    client = log_in(starttls_port)
    assert client.uidl()[1] == before
    client.dele(1)
    client.dele(3)
    client.quit()
    client = log_in(starttls_port)
    ids = [line.split()[1] for line in client.uidl()[1]]
    assert ids == [before[n].split()[1] for n in (1, 3, 4)]
    assert fetched(client, 1) == PREFIX + MESSAGES[1]
    client.quit()


def test_poplib_over_implicit_tls(tls_port: int) -> None:
    """The TLS port serves without STLS."""
    client = poplib.POP3_SSL("localhost", tls_port, context=tls.contexts()[1], timeout=20)
    assert "STLS" not in client.capa()
    client.user(LOGIN)
    client.pass_(PASSWORD)
    assert fetched(client, 4) == PREFIX + MESSAGES[3]
    client.quit()


def test_poplib_in_clear_is_refused(starttls_port: int) -> None:
    """The name is refused before the password is sent, from loopback too."""
    client = poplib.POP3("127.0.0.1", starttls_port, timeout=20)
    with pytest.raises(poplib.error_proto, match="TLS"):
        client.user(LOGIN)
    client.quit()


@pytest.mark.parametrize("scheme", ["pop3", "pop3s"])
def test_curl(scheme: str, authority: Path, request: pytest.FixtureRequest) -> None:
    """curl lists, fetches octet for octet by whatever way of logging in, and says 67 for a wrong password."""
    port = request.getfixturevalue("tls_port" if scheme == "pop3s" else "starttls_port")
    curl = [program("curl"), "-sS", "--ssl-reqd", "--cacert", str(authority), "--max-time", "20"]
    url = f"{scheme}://localhost:{port}/"

    def fetch(path: str, *options: str, password: str = PASSWORD) -> "subprocess.CompletedProcess[bytes]":
        command = [*curl, *options, "-u", f"{LOGIN}:{password}", url + path]
        return subprocess.run(command, capture_output=True, timeout=30, check=False)

    listing = fetch("").stdout.split()
    assert listing[1::2] == [b"%d" % len(PREFIX + message) for message in MESSAGES]
    for number in (2, 4):
        done = fetch(str(number))
        assert (done.returncode, done.stdout) == (0, PREFIX + MESSAGES[number - 1])
    for options in (["--sasl-ir"], ["--login-options", "AUTH=LOGIN"]):
        assert fetch("1", *options).stdout == PREFIX + MESSAGES[0]
    assert fetch("1", password="wrong").returncode == 67


def test_fetchmail_takes_everything(starttls_port: int, authority: Path, tmp_path: Path) -> None:
    """fetchmail gets every message by STLS, hands it on, and leaves the maildrop empty."""
    box = tmp_path / "box"
    rc = tmp_path / "fetchmailrc"
    rc.write_text(
        f'poll localhost protocol pop3 service {starttls_port}\n  user "{LOGIN}" password "{PASSWORD}"\n'
        f'  sslproto "auto" sslcertck sslcertfile "{authority}" fetchall no rewrite no keep\n  mda "cat >> {box}"\n'
    )
    rc.chmod(0o600)
    done = subprocess.run(
        [program("fetchmail"), "-f", rc, "-i", tmp_path / "ids", "--pidfile", tmp_path / "pid", "-v", "--nosyslog"],
        capture_output=True,
        timeout=60,
        check=False,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    delivered = box.read_bytes()
    for number in range(1, len(MESSAGES) + 1):
        assert b"Message-ID: <%d@example.test>" % number in delivered
    assert b"\n.\n..\n.dot\n" in delivered
    client = log_in(starttls_port)
    assert client.stat() == (0, 0)
    client.quit()


def test_mutt_copies_and_deletes(tls_port: int, authority: Path, tmp_path: Path) -> None:
    """mutt lists by TOP, copies every message whole, and what it deletes is gone when it has quit."""
    box, rc = tmp_path / "box", tmp_path / "muttrc"
    rc.write_text(
        f'set ssl_ca_certificates_file="{authority}" certificate_file="{authority}" folder="{tmp_path}"\n'
        "set mbox_type=mbox quit=yes delete=yes confirmappend=no confirmcreate=no\n"
    )
    login = f"{LOGIN.replace('@', '%40')}:{PASSWORD.replace(' ', '%20')}"
    keys = f"<tag-pattern>~A<enter><tag-prefix><copy-message>{box}<enter><delete-pattern>~A<enter><quit>"
    command = [program("mutt"), "-n", "-F", str(rc), "-f", f"pops://{login}@localhost:{tls_port}/"]
    ours, terminal = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        mutt = subprocess.Popen(
            [*command, "-e", f'push "{keys}"'],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TERM": "xterm"},
        )
        os.close(terminal)
        timer = threading.Timer(30, mutt.kill)
        timer.start()
        try:
            while screen.read(65536):  # it draws as long as somebody looks
                pass
        except OSError:
            pass  # what Linux says when the last one has closed the other end
        finally:
            timer.cancel()
        assert mutt.wait() == 0
    copied = box.read_bytes()
    for number in range(1, len(MESSAGES) + 1):
        assert b"Message-ID: <%d@example.test>" % number in copied
    assert b"\n.\n..\n.dot\n" in copied
    client = poplib.POP3_SSL("localhost", tls_port, context=tls.contexts()[1], timeout=20)
    client.user(LOGIN)
    client.pass_(PASSWORD)
    assert client.stat() == (0, 0)
    client.quit()
