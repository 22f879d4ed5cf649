"""Every SMTP dialog, against the session alone and against a live port, in whole flights and octet by octet."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import pytest

from maillib.errors import StoreFull, Transient
from maillib.settings.smtp import SmtpSettings
from tests.dialogs.runner import Script, SessionWire, SocketWire, play, scripts
from tests.support import tls as tls_ends
from tests.support.event_loops import LOOPS, NAMES
from tests.support.smtp_world import Role, SmtpWorld, Tls, furnish

SCRIPTS = scripts("smtp")

LONGEST_IN_OCTETS = 20_000
"""Flights longer than this are not sent octet by octet."""


class OctetWire(SocketWire):
    """Sends each octet alone, but for what comes in clear behind STARTTLS: alone it would be a broken handshake."""

    async def send(self, data: bytes) -> None:
        if len(data) > LONGEST_IN_OCTETS or data.partition(b"STARTTLS\r\n")[2]:
            await super().send(data)
            return
        for octet in data:
            await super().send(bytes([octet]))
            await asyncio.sleep(0)


@dataclass
class Stage:
    """What a script is played on."""

    world: SmtpWorld
    role: Role = "mx"
    tls: Tls = "starttls"
    cleartext_login: bool = False


def prepare(script: Script) -> Stage:
    """Words: `role submission`, `tls none`, `cleartext-login`, `max-errors N`, `max-idle-commands N`,
    `max-recipients N`, `max-size N`, `max-received N`, `room N`, `full` and `broken` (the queue)."""
    stage = Stage(SmtpWorld())
    settings: dict[str, int] = {"max_errors": 20}
    for word, text in script.preparations:
        match word:
            case "role":
                stage.role = cast(Role, text)
            case "tls":
                stage.tls = cast(Tls, text)
            case "cleartext-login":
                stage.cleartext_login = True
            case "max-errors" | "max-idle-commands" | "max-recipients" | "max-received":
                settings[word.replace("-", "_")] = int(text)
            case "max-size":
                settings["max_message_size"] = int(text)
            case "room":
                stage.world.queue.room = int(text)
            case "full":
                stage.world.queue.failure = StoreFull("no space")
            case "broken":
                stage.world.queue.failure = Transient("no luck")
            case _:
                raise AssertionError(f"{script.name}: @ {word} is unknown")
    stage.world.settings = SmtpSettings(**settings)
    return stage


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
@pytest.mark.parametrize(
    "cut", [lambda data: [data], lambda data: [data[i : i + 1] for i in range(len(data))]], ids=["flights", "octets"]
)
def test_session_alone(script: Script, cut: Callable[[bytes], list[bytes]]) -> None:
    """A session answers as the script says, however the octets arrive."""

    async def main() -> None:
        stage = prepare(script)
        await furnish(stage.world.directory)
        session = stage.world.session(stage.role, stage.tls, cleartext_login=stage.cleartext_login)
        await play(script, SessionWire(session, cut))
        assert stage.world.queue.open_drafts == 0

    asyncio.run(main())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
@pytest.mark.parametrize("wire", [SocketWire, OctetWire], ids=["flights", "octets"])
@pytest.mark.parametrize("loop_factory", LOOPS, ids=NAMES)
def test_live_port(
    script: Script, wire: type[SocketWire], loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """A connection answers as the script says, on either event loop."""

    async def main() -> None:
        stage = prepare(script)
        async with stage.world.serve(stage.role, tls=stage.tls, cleartext_login=stage.cleartext_login) as live:
            await play(script, await wire.connect("127.0.0.1", live.port, tls_ends.contexts()[1]))
        assert stage.world.queue.open_drafts == 0

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())
