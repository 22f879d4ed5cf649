"""The embedded directory: several processes, files, what is kept of a password."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

import pytest
from argon2 import PasswordHasher, extract_parameters

from maillib.address import Address
from maillib.embedded import sqlite
from maillib.embedded.directory import EmbeddedDirectory, database_path
from maillib.errors import AuthenticationFailed, Transient
from maillib.ports.directory import PutAccount, SetPassword

ALICE = Address.parse("alice@example.test")
LOGIN = str(ALICE)
T = TypeVar("T")

SERVICES = 12345
"""A user and group that nobody here has."""
SCRIPT = """
import asyncio, os, sys
from pathlib import Path
from maillib.address import Address
from maillib.embedded.directory import EmbeddedDirectory
if int(sys.argv[2]) != os.getuid():
    os.setgroups([])
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
async def log_in(directory, password):
    return (await directory.authenticate("alice@example.test", password, service="pop")).id
async def find(directory, address):
    return (await directory.resolve(Address.parse(address))).accounts[0].name
async def main():
    directory = EmbeddedDirectory(Path(sys.argv[1]))
    for line in sys.stdin:
        try:
            print(await globals()[sys.argv[3]](directory, line.strip()), flush=True)
        except Exception as error:
            print(type(error).__name__, flush=True)
    await directory.close()
asyncio.run(main())
"""
"""Says what the function named by its third argument makes of each line of its input."""


def with_directory(state_dir: Path, promise: Callable[[EmbeddedDirectory], Awaitable[None]]) -> None:
    async def main() -> None:
        directory = EmbeddedDirectory(state_dir)
        try:
            await promise(directory)
        finally:
            await directory.close()

    asyncio.run(main())


async def make_alice(directory: EmbeddedDirectory, password: str) -> None:
    await directory.add_domain("example.test")
    await directory.add_account(ALICE, password)


@contextmanager
def other_process(state_dir: Path, uid: int, answer: str = "log_in") -> Iterator[Callable[[str], str]]:
    """Another process with the directory open: what it says to a line."""
    command = [sys.executable, "-c", SCRIPT, str(state_dir), str(uid), answer]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def ask(password: str) -> str:
            stdin.write(f"{password}\n")
            stdin.flush()
            return stdout.readline().strip()

        yield ask
        stdin.close()
        assert process.wait(timeout=60) == 0


def test_other_processes(tmp_path: Path) -> None:
    """A process that has the directory open answers by a change as soon as another one has made it."""

    async def promise(directory: EmbeddedDirectory) -> None:
        await make_alice(directory, "first")
        with other_process(tmp_path, os.getuid()) as ask:
            assert await asyncio.to_thread(ask, "first") == "1"
            for password in ("second", "third"):
                await directory.edit([SetPassword(address=ALICE, password=password)])
                assert await asyncio.to_thread(ask, password) == "1"
                assert await asyncio.to_thread(ask, "first") == "AuthenticationFailed"
            await directory.edit([PutAccount(address=ALICE, enabled=False)])
            assert await asyncio.to_thread(ask, "third") == "AuthenticationFailed"

    with_directory(tmp_path, promise)


def test_other_processes_remember(tmp_path: Path) -> None:
    """What a process remembers, of who is there and who is not, holds no longer than until another one's change."""

    async def promise(directory: EmbeddedDirectory) -> None:
        await directory.add_domain("example.test")
        with other_process(tmp_path, os.getuid(), "find") as ask:
            for number in range(20):
                assert await asyncio.to_thread(ask, LOGIN) == await asyncio.to_thread(ask, LOGIN) == "NotFound"
                await directory.edit([PutAccount(address=ALICE, name=str(number))])
                assert await asyncio.to_thread(ask, LOGIN) == await asyncio.to_thread(ask, LOGIN) == str(number)
                await directory.edit([PutAccount(address=ALICE, enabled=False)])

    with_directory(tmp_path, promise)


def at_once(question: Coroutine[None, None, T]) -> T:
    """The answer to a question that waits for nothing: not for a thread, and so not for a disk or lock."""
    try:
        question.send(None)
    except StopIteration as answer:
        return cast(T, answer.value)
    finally:
        question.close()
    raise AssertionError("it waits")


def test_known_answers_are_given_at_once(tmp_path: Path) -> None:
    """What was asked before and has not changed is answered without waiting, even while somebody writes."""

    async def promise(directory: EmbeddedDirectory) -> None:
        await make_alice(directory, "secret")
        nobody = Address.parse("nobody@example.test")
        alice = (await directory.resolve(ALICE)).accounts[0]
        await directory.account(alice.id)
        await directory.default_domain()
        assert not await directory.may_send_as(alice.id, nobody)
        writer = sqlite3.connect(database_path(tmp_path), isolation_level=None)
        try:
            writer.execute("BEGIN IMMEDIATE")
            writer.execute("UPDATE account SET name = 'x'")
            assert at_once(directory.resolve(ALICE)).accounts == (alice,)
            assert at_once(directory.account(alice.id)) == alice
            assert at_once(directory.default_domain()) == "example.test"
            assert at_once(directory.may_send_as(alice.id, ALICE))
            assert not at_once(directory.may_send_as(alice.id, nobody))
            writer.execute("COMMIT")
        finally:
            writer.close()
        assert (await directory.account(alice.id)).name == "x"

    with_directory(tmp_path, promise)


def test_a_log_in_again_is_answered_at_once(tmp_path: Path) -> None:
    """The right password costs one hash in ten minutes, until it is changed or its account disabled; a wrong one, one
    each time."""

    async def promise(directory: EmbeddedDirectory) -> None:
        await make_alice(directory, "secret")
        alice = await directory.authenticate(LOGIN, "secret", service="pop")
        assert at_once(directory.authenticate("ALICE@example.test", "secret", service="smtp")) == alice
        with pytest.raises(AssertionError, match="it waits"):
            at_once(directory.authenticate(LOGIN, "wrong", service="pop"))
        await directory.edit([PutAccount(address=ALICE, protocols=frozenset({"pop"}))])
        await directory.authenticate(LOGIN, "secret", service="pop")
        with pytest.raises(AuthenticationFailed):
            at_once(directory.authenticate(LOGIN, "secret", service="smtp"))
        await directory.edit([PutAccount(address=ALICE, enabled=False)])
        with pytest.raises(AuthenticationFailed):
            await directory.authenticate(LOGIN, "secret", service="pop")
        await directory.edit([PutAccount(address=ALICE), SetPassword(address=ALICE, password="other")])
        with pytest.raises(AuthenticationFailed):
            await directory.authenticate(LOGIN, "secret", service="pop")

    with_directory(tmp_path, promise)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become another user")
def test_other_user() -> None:
    """What root makes in a folder of the services' user, their processes can use."""
    with tempfile.TemporaryDirectory() as name:
        state_dir = Path(name)
        state_dir.chmod(0o750)
        os.chown(state_dir, 0, SERVICES)
        folder = database_path(state_dir).parent
        folder.mkdir(mode=0o750)
        os.chown(folder, SERVICES, SERVICES)
        with_directory(state_dir, lambda directory: seen_by_services(directory, state_dir))


async def seen_by_services(directory: EmbeddedDirectory, state_dir: Path) -> None:
    await make_alice(directory, "secret")
    with other_process(state_dir, SERVICES) as ask:
        assert await asyncio.to_thread(ask, "secret") == "1"
        await directory.edit([SetPassword(address=ALICE, password="other")])
        assert await asyncio.to_thread(ask, "other") == "1"
        assert {path.stat().st_uid for path in database_path(state_dir).parent.iterdir()} == {SERVICES}


def test_modes(tmp_path: Path) -> None:
    """Nobody but owner and group may read a file with password hashes, whatever the umask."""
    umask = os.umask(0)
    try:

        async def promise(directory: EmbeddedDirectory) -> None:
            await make_alice(directory, "secret")
            files = [*database_path(tmp_path).parent.iterdir()]
            assert len(files) == 3
            assert {stat.S_IMODE(path.stat().st_mode) & 0o137 for path in files} == {0}

        with_directory(tmp_path, promise)
    finally:
        os.umask(umask)


def test_no_clear_password(tmp_path: Path) -> None:
    """The password itself is in none of the files."""

    async def promise(directory: EmbeddedDirectory) -> None:
        await make_alice(directory, "correct horse battery")
        await directory.fingerprint("correct horse battery")

    with_directory(tmp_path, promise)
    assert b"correct horse" not in database_path(tmp_path).read_bytes()


def test_fingerprints_stay(tmp_path: Path) -> None:
    """A fingerprint is the same after the directory was closed, and another one in another directory."""
    found: list[str] = []

    async def promise(directory: EmbeddedDirectory) -> None:
        found.append(await directory.fingerprint("secret"))

    (tmp_path / "other").mkdir()
    for folder in (tmp_path, tmp_path, tmp_path / "other"):
        with_directory(folder, promise)
    assert found[0] == found[1] != found[2]


def kept(state_dir: Path) -> tuple[str, str | None]:
    connection = sqlite3.connect(database_path(state_dir))
    try:
        argon2id, scram = connection.execute("SELECT argon2id, scram_sha_256 FROM account").fetchone()
        return str(argon2id), scram
    finally:
        connection.close()


def test_cost(tmp_path: Path) -> None:
    """A password is kept as argon2id of 19 MiB in two passes, and as a SCRAM-SHA-256 verifier."""
    with_directory(tmp_path, lambda directory: make_alice(directory, "secret"))
    argon2id, scram = kept(tmp_path)
    parameters = extract_parameters(argon2id)
    assert (parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (19_456, 2, 1)
    assert argon2id.startswith("$argon2id$")
    assert scram is not None and scram.startswith("SCRAM-SHA-256$4096:")


def test_hash_of_other_cost(tmp_path: Path) -> None:
    """A log-in replaces a hash of another cost by ours and keeps the verifier; a failed one changes nothing."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("secret")

    async def declare(directory: EmbeddedDirectory) -> None:
        await directory.add_domain("example.test")
        await directory.add_account(ALICE)
        await directory.edit([SetPassword(address=ALICE, password_hash=cheap)])
        with pytest.raises(AuthenticationFailed):
            await directory.authenticate(LOGIN, "other", service="pop")

    async def log_in(directory: EmbeddedDirectory) -> None:
        before = await directory.generation()
        await directory.authenticate(LOGIN, "secret", service="pop")
        assert await directory.generation() == before

    with_directory(tmp_path, declare)
    assert kept(tmp_path) == (cheap, None)
    with_directory(tmp_path, log_in)
    argon2id, scram = kept(tmp_path)
    assert extract_parameters(argon2id).memory_cost == 19_456
    assert scram is not None
    with_directory(tmp_path, log_in)
    assert kept(tmp_path) == (argon2id, scram)


def test_directory_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Somebody who can read the directory logs in, even when nothing can be written to it."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.05)
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("secret")

    async def promise(directory: EmbeddedDirectory) -> None:
        await directory.add_domain("example.test")
        await directory.add_account(ALICE)
        await directory.edit([SetPassword(address=ALICE, password_hash=cheap)])
        other = sqlite3.connect(database_path(tmp_path), isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            await directory.authenticate(LOGIN, "secret", service="pop")
            with pytest.raises(Transient):
                await directory.edit([PutAccount(address=ALICE)])
        finally:
            other.close()

    with_directory(tmp_path, promise)
    assert kept(tmp_path) == (cheap, None)
    assert "password-not-rehashed" in capfd.readouterr().err


def test_too_many_wait(tmp_path: Path) -> None:
    """More log-ins at once than may wait are told to try again; nobody waits without an answer."""

    async def promise(directory: EmbeddedDirectory) -> None:
        await directory.add_domain("example.test")
        tries = [directory.authenticate(LOGIN, "x", service="pop") for _ in range(200)]
        kinds = [type(answer) for answer in await asyncio.gather(*tries, return_exceptions=True)]
        assert set(kinds) == {AuthenticationFailed, Transient}
        assert kinds.count(Transient) >= 200 - 130

    with_directory(tmp_path, promise)


def test_closed_twice(tmp_path: Path) -> None:
    """Closing is idempotent."""

    async def promise(directory: EmbeddedDirectory) -> None:
        await directory.close()

    with_directory(tmp_path, promise)
    assert database_path(tmp_path).exists()
