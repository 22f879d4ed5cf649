"""A worker without free descriptors: it waits instead of spinning, its sessions go on, and then it accepts again."""

import asyncio
import resource
import smtplib
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.processes import cpu_s
from maillib.address import Address
from maillib.embedded.directory import EmbeddedDirectory
from maillib.settings.service import Listener
from maillib.settings.smtp import SmtpSettings
from tests.support.program import PATIENCE_S, Program, until

pytestmark = pytest.mark.real

SCRIPT = Path(__file__).resolve().parents[2] / "workers" / "smtp.py"
ALICE = "alice@example.test"


@pytest.fixture
def smtp(tmp_path: Path) -> Iterator[Program]:
    program = Program(tmp_path, SCRIPT, name="smtp")

    async def furnish() -> None:
        directory = EmbeddedDirectory(program.state_dir)
        await directory.add_domain("example.test")
        await directory.add_account(Address.parse(ALICE))
        await directory.close()

    asyncio.run(furnish())
    listener = Listener(host="127.0.0.1", port=program.port, tls="none", role="mx")
    program.start(protocol="smtp", settings=SmtpSettings(), processes=1, listen=(listener,))
    yield program
    program.clear()


def connected(smtp: Program) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", smtp.port, timeout=PATIENCE_S)


def test_no_descriptor_is_left(smtp: Program) -> None:
    """Connections wait in the backlog; a running session is answered, 4yz for a message; then all are served."""
    (worker,) = smtp.workers()
    with ExitStack() as stack:
        session = stack.enter_context(connected(smtp))
        session.ehlo()
        used = max(int(path.name) for path in Path(f"/proc/{worker}/fd").iterdir()) + 1
        _, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (used, hard))
        free = [number for number in range(used) if not Path(f"/proc/{worker}/fd/{number}").exists()]
        for _ in free:  # the gaps
            stack.enter_context(connected(smtp))
        waiting = stack.enter_context(socket.create_connection(("127.0.0.1", smtp.port), timeout=2))
        before = cpu_s(worker)
        with pytest.raises(TimeoutError):
            waiting.recv(1000)
        assert cpu_s(worker) - before < 0.5
        assert "Too many open files" in smtp.log
        session.mail("x@elsewhere.test")
        session.rcpt(ALICE)
        code, _ = session.data("Subject: x\r\n\r\n")
        assert code // 100 == 4
        assert session.noop()[0] == 250
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (hard, hard))
        waiting.settimeout(PATIENCE_S)
        assert waiting.recv(1000).startswith(b"220 ")
        with connected(smtp) as client:
            assert client.sendmail("x@elsewhere.test", ALICE, "Subject: y\r\n\r\n") == {}
        assert session.sendmail("x@elsewhere.test", ALICE, "Subject: z\r\n\r\n") == {}
    assert smtp.workers() == [worker]
    assert "bug" not in {line.split()[3] for line in smtp.log.splitlines()}
    until(lambda: not smtp.sessions(), "end of the sessions")
    assert len(list((smtp.state_dir / "spool" / "incoming").iterdir())) == 2
