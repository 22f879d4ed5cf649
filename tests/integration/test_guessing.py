"""Guessing passwords at the real POP and SMTP workers: slow everywhere, for who guesses; for nobody else."""

import asyncio
import smtplib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from maillib.address import Address
from maillib.embedded.directory import EmbeddedDirectory
from maillib.settings.service import Listener
from maillib.settings.smtp import SmtpSettings
from tests.support.program import PATIENCE_S, Program

WORKERS = Path(__file__).parents[2] / "workers"
ALICE, BOB = "alice@example.test", "bob@example.test"
PASSWORD = "open sesame"
GUESSER, HONEST = "127.0.0.1", "127.0.0.2"


@dataclass(frozen=True)
class House:
    pop: Program
    smtp: Program

    def pop_says(self, user: str, password: str, source: str) -> bytes:
        """The reply to PASS."""
        with (
            socket.create_connection(("127.0.0.1", self.pop.port), PATIENCE_S, source_address=(source, 0)) as sock,
            sock.makefile("rwb") as file,
        ):
            file.write(f"USER {user}\r\nPASS {password}\r\n".encode())
            file.flush()
            return [file.readline() for _ in range(3)][-1]

    def smtp_says(self, user: str, password: str, source: str) -> int:
        """The code of the reply to AUTH."""
        with smtplib.SMTP("127.0.0.1", self.smtp.port, timeout=PATIENCE_S, source_address=(source, 0)) as client:
            client.ehlo()
            client.user, client.password = user, password
            try:
                return client.auth("PLAIN", client.auth_plain)[0]
            except smtplib.SMTPAuthenticationError as error:
                return error.smtp_code


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    pop = Program(tmp_path, WORKERS / "pop.py", name="pop")
    smtp = Program(tmp_path, WORKERS / "smtp.py", name="smtp")

    async def furnish() -> None:
        directory = EmbeddedDirectory(pop.state_dir)
        await directory.add_domain("example.test")
        for user in (ALICE, BOB):
            await directory.add_account(Address.parse(user), PASSWORD)
        await directory.close()

    asyncio.run(furnish())
    try:
        pop.start(listen=(Listener(host="127.0.0.1", port=pop.port, tls="none", cleartext_login=True),))
        smtp.start(
            protocol="smtp",
            settings=SmtpSettings(),
            listen=(Listener(host="127.0.0.1", port=smtp.port, tls="none", role="submission", cleartext_login=True),),
        )
        yield House(pop, smtp)
    finally:
        for program in (pop, smtp):
            program.clear()


def slowed(program: Program, peer: str) -> int:
    """How many log-ins from there had to wait."""
    return sum(" login-slowed " in line and f" peer={peer} " in line for line in program.log.splitlines())


def test_slow_in_all_services(house: House) -> None:
    """An address that fails in POP waits in SMTP, also after every process was killed, and is let in with the right
    password at the end of the wait; an honest client elsewhere waits nowhere."""
    for number in range(6):
        assert house.pop_says(BOB, f"guess {number}", GUESSER).startswith(b"-ERR [AUTH]")
    assert f"peer={GUESSER}" in next(line for line in house.pop.log.splitlines() if " login-failed " in line)
    assert slowed(house.pop, GUESSER) == 1
    assert house.smtp_says(BOB, "guess", GUESSER) == 535
    assert slowed(house.smtp, GUESSER) == 1

    for program in (house.pop, house.smtp):
        program.clear()
        program.start(listen=program.config.listen)
    assert house.smtp_says(BOB, "guess", GUESSER) == 535
    assert slowed(house.smtp, GUESSER) == 2
    assert house.smtp_says(BOB, PASSWORD, GUESSER) == 235
    assert slowed(house.smtp, GUESSER) == 3

    assert house.pop_says(ALICE, PASSWORD, HONEST).startswith(b"+OK")
    assert house.smtp_says(ALICE, PASSWORD, HONEST) == 235
    assert house.smtp_says(BOB, PASSWORD, HONEST) == 235
    assert slowed(house.pop, HONEST) == 0
