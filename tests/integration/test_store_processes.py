"""The store's contract among real processes: several that deliver to one account, some of them killed; leases."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from maillib.address import Address
from maillib.embedded.blobs import EmbeddedBlobs, path_of, spool_ref
from maillib.embedded.index import EmbeddedIndex
from maillib.embedded.leases import EmbeddedLeases
from maillib.errors import Conflict
from maillib.ports.directory import Account, AccountId
from maillib.ports.index import EVERY_UID, INBOX, Uid
from maillib.ports.queue import QueueId
from tests.support.stored_mail import wrong_with

ALICE = AccountId(1)
WRITERS = 4
MESSAGES = 25
"""Per writer."""

DELIVER = """
    import asyncio, sys
    from datetime import UTC, datetime
    from pathlib import Path
    from maillib.address import Address
    from maillib.embedded.blobs import spool_ref
    from maillib.embedded.index import EmbeddedIndex
    from maillib.ports.directory import Account, AccountId
    from maillib.ports.index import INBOX, NewMessage

    async def account_of(account):
        return Account(account, Address.parse("alice@example.test"), "", True, None, None)

    async def main(state_dir, writer, first, last):
        index = EmbeddedIndex(state_dir, account_of)
        for number in range(first, last):
            message = NewMessage(
                delivery_key=f"{writer}Q{number}/alice",
                prefix=f"X-Key: {writer}Q{number}\\r\\n".encode(),
                body=spool_ref("BODY"),
                internal_date=datetime.fromtimestamp(1_700_000_000, UTC),
            )
            (answer,) = await index.append(AccountId(1), INBOX, [message])
            print(number, answer.uid, flush=True)
        await index.close()

    asyncio.run(main(Path(sys.argv[1]), *map(int, sys.argv[2:])))
"""

HOLD = """
    import asyncio, subprocess, sys
    from pathlib import Path
    from maillib.embedded.leases import EmbeddedLeases

    async def main():
        leases = EmbeddedLeases(Path(sys.argv[1]))
        lease = await leases.acquire("maildrop:1")
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=0, close_fds=False)
        print(lease.fencing, child.pid, flush=True)
        sys.stdin.readline()

    asyncio.run(main())
"""

CREATE = """
    import asyncio, sys
    from pathlib import Path
    from maillib.embedded.index import EmbeddedIndex
    from maillib.ports.directory import AccountId

    async def main():
        index = EmbeddedIndex(Path(sys.argv[1]), None)
        print("ready", flush=True)
        sys.stdin.readline()
        for account in range(1, 31):
            (inbox,) = await index.mailboxes(AccountId(account))
            print(inbox.id, inbox.uid_validity, flush=True)
        await index.close()

    asyncio.run(main())
"""


@contextmanager
def python(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process that runs `script`, ended with the block at the latest."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


async def account_of(account: AccountId) -> Account:
    return Account(account, Address.parse("alice@example.test"), "", True, None, None)


def spool_body(state_dir: Path) -> None:
    body = path_of(state_dir, spool_ref(QueueId("BODY")))
    body.parent.mkdir(parents=True)
    body.write_bytes(b"\r\nbody\r\n")
    os.utime(body, (1_700_000_000, 1_700_000_000))  # as SMTP leaves it: the internal date of what is delivered


async def deliver_and_kill(state_dir: Path, writer: int, kills: int) -> dict[int, int]:
    """Deliver all messages of one writer, killing its process `kills` times after some acknowledgement; number to UID.

    The kill arrives while the next delivery is under way. A new process begins with the first message that was not
    acknowledged, or with the last one that was, as a spool would that died before it removed its pair.
    """
    acknowledged: dict[int, int] = {}

    def run(stop_after: int | None) -> None:
        first = max(0, len(acknowledged) - 1)
        with python(DELIVER, state_dir, writer, first, MESSAGES) as process:
            assert process.stdout is not None
            for count, line in enumerate(process.stdout, 1):
                number, uid = map(int, line.split())
                assert acknowledged.setdefault(number, uid) == uid, "a second copy"
                if count == stop_after:
                    process.send_signal(signal.SIGKILL)
                    break
            else:
                assert process.wait() == 0

    randomness = random.Random(writer)
    for _ in range(kills):
        await asyncio.to_thread(run, randomness.randint(2, 6))
    await asyncio.to_thread(run, None)
    return acknowledged


@pytest.mark.parametrize("kills", [0, 3], ids=["undisturbed", "killed"])
def test_deliveries_of_several_processes(tmp_path: Path, kills: int) -> None:
    """Four processes deliver to one mailbox: each message is there once under the UID that was acknowledged, and a
    reader sees UIDs only in growing order, without a gap that is filled later; killed ones lose and double nothing."""
    spool_body(tmp_path)

    async def main() -> None:
        index, blobs = EmbeddedIndex(tmp_path, account_of), EmbeddedBlobs(tmp_path)
        writers = [asyncio.create_task(deliver_and_kill(tmp_path, writer, kills)) for writer in range(WRITERS)]
        everything = asyncio.gather(*writers)
        while not everything.done():
            uids = [row.uid for row in await index.rows(ALICE, INBOX)]
            assert uids == list(range(1, len(uids) + 1))
            await asyncio.wait([everything], timeout=0.05)
        expected: dict[int, bytes] = {}
        for writer, acknowledged in enumerate(await everything):
            assert list(acknowledged.values()) == sorted(acknowledged.values())
            assert len(acknowledged) == MESSAGES
            expected |= {uid: f"X-Key: {writer}Q{number}\r\n".encode() for number, uid in acknowledged.items()}
        stored = await index.messages(ALICE, INBOX, EVERY_UID)
        assert {uid: message.prefix for uid, message in stored.items()} == expected
        assert len(stored) == WRITERS * MESSAGES
        last = stored[Uid(len(stored))]
        assert await blobs.get(last.body, 0, last.size_octets) == b"\r\nbody\r\n"
        assert wrong_with(tmp_path, ALICE) == []
        await index.close()
        await blobs.close()

    asyncio.run(main())


def test_several_processes_create_an_account_at_once(tmp_path: Path) -> None:
    """Processes that use a new account first at the same moment all see one and the same INBOX."""
    with ExitStack() as stack:
        processes = [stack.enter_context(python(CREATE, tmp_path)) for _ in range(WRITERS)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = {process.communicate()[0] for process in processes}
        assert [process.returncode for process in processes] == [0] * WRITERS
    (answer,) = answers
    assert len(answer.splitlines()) == 30


def test_a_lease_dies_with_its_process(tmp_path: Path) -> None:
    """A lease excludes another process, ends with SIGKILL although a child of its holder lives on, and the number of
    the next one is larger."""

    async def main() -> None:
        leases = EmbeddedLeases(tmp_path)
        before = await leases.acquire("maildrop:1")
        await before.release()
        with python(HOLD, tmp_path) as holder:
            assert holder.stdout is not None
            fencing, child = map(int, holder.stdout.readline().split())
            assert fencing > before.fencing
            with pytest.raises(Conflict):
                await leases.acquire("maildrop:1")
            holder.kill()
            holder.wait()
            after = await leases.acquire("maildrop:1")
            assert after.fencing > fencing
            assert Path(f"/proc/{child}").exists() or sys.platform != "linux"
            await after.release()
        await leases.close()

    asyncio.run(main())
