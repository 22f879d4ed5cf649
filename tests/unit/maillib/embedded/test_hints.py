"""What of the embedded Hints does not show through the port: other processes, their death, and the want of room."""

import asyncio
import subprocess
import sys
import textwrap
from pathlib import Path

from maillib.embedded.hints import EmbeddedHints, hints_folder
from maillib.ports.directory import AccountId
from maillib.ports.hints import Hint
from maillib.ports.index import MailboxId, ModSeq

ALICE, INBOX = AccountId(1), MailboxId(1)

WATCH = """
    import asyncio, sys
    from pathlib import Path
    from maillib.embedded.hints import EmbeddedHints
    from maillib.ports.directory import AccountId

    async def main():
        hints = EmbeddedHints(Path(sys.argv[1]))
        watch = hints.watch([AccountId(1)])
        print("watching", flush=True)
        async for hint in watch:
            print(*hint, flush=True)

    asyncio.run(main())
"""


def test_another_process_is_told_and_its_pipe_goes_with_it(tmp_path: Path) -> None:
    """A process that watches hears what another one publishes; once it is killed nothing of it is left."""
    hints = EmbeddedHints(tmp_path)
    hints.publish(ALICE, INBOX, ModSeq(1))  # nobody has ever watched
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WATCH), str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline() == "watching\n"
        hints.publish(AccountId(2), INBOX, ModSeq(2))
        hints.publish(ALICE, INBOX, ModSeq(3))
        assert watching.stdout.readline() == "1 1 3\n"
        watching.kill()
    assert len(list(hints_folder(tmp_path).iterdir())) == 1
    hints.publish(ALICE, INBOX, ModSeq(4))
    assert list(hints_folder(tmp_path).iterdir()) == []


def test_a_process_that_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    """What does not fit into its pipe is lost; of what fits it hears the last word about each mailbox; another process
    hears all the same."""

    async def main() -> None:
        behind, awake = EmbeddedHints(tmp_path), EmbeddedHints(tmp_path)
        late, prompt = behind.watch([ALICE]), awake.watch([ALICE])
        for number in range(1, 20_001):
            behind.publish(ALICE, INBOX, ModSeq(number))
        first = await anext(late)
        assert (first.account, first.mailbox) == (ALICE, INBOX)
        assert 1000 < first.modseq < 20_000
        await anext(prompt)
        behind.publish(ALICE, INBOX, ModSeq(20_001))
        for watch in (late, prompt):
            while (await anext(watch)).modseq < 20_001:
                pass
        await behind.close()
        await awake.close()
        assert list(hints_folder(tmp_path).iterdir()) == []

    asyncio.run(main())


def test_nonsense_in_a_pipe_is_passed_over(tmp_path: Path) -> None:
    """Only numbers are hints, whatever somebody writes to the pipe."""

    async def main() -> None:
        hints = EmbeddedHints(tmp_path)
        watch = hints.watch([ALICE])
        (pipe,) = hints_folder(tmp_path).iterdir()
        with pipe.open("wb", buffering=0) as file:
            file.write(b"\n\n1 1\nx 1 2\n1 1 99999999999999999999\n" + b"y" * 5000)
        hints.publish(ALICE, INBOX, ModSeq(1))
        hints.publish(ALICE, INBOX, ModSeq(7))
        assert await anext(watch) == Hint(ALICE, INBOX, ModSeq(7))
        await hints.close()
        await hints.close()

    asyncio.run(main())


def test_a_long_path_is_no_hindrance(tmp_path: Path) -> None:
    """Where a socket's name would not fit, hints come all the same."""

    async def main() -> None:
        deep = tmp_path / ("x" * 100)
        deep.mkdir()
        hints = EmbeddedHints(deep)
        watch = hints.watch([ALICE])
        hints.publish(ALICE, INBOX, ModSeq(1))
        assert await anext(watch) == Hint(ALICE, INBOX, ModSeq(1))
        await hints.close()

    asyncio.run(main())


def test_where_no_pipe_can_be_made_nothing_comes(tmp_path: Path) -> None:
    """A folder that cannot be written costs hints, and no more."""

    async def main() -> None:
        hints_folder(tmp_path).write_bytes(b"a file in its place")
        hints = EmbeddedHints(tmp_path)
        watch = hints.watch([ALICE])
        hints.publish(ALICE, INBOX, ModSeq(1))
        await hints.close()
        assert [hint async for hint in watch] == []

    asyncio.run(main())
