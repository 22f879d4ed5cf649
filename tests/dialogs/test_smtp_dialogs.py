"""Every SMTP dialog against a live port, on both event loops, sent in whole flights and octet by octet.

There is no session without a wire to play them against: SMTP's wire is aiosmtpd's.
"""

import asyncio
from collections.abc import Callable
from typing import Literal, cast

import pytest
import uvloop

from maillib.errors import StoreFull, Transient
from maillib.settings.smtp import SmtpSettings
from tests.dialogs.runner import Script, SocketWire, play, scripts
from tests.support import tls as tls_ends
from tests.support.smtp_world import SmtpWorld

Role = Literal["mx", "submission"]
Tls = Literal["none", "starttls", "implicit"]

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


async def play_live(script: Script, wire: type[SocketWire]) -> None:
    """Words: `role submission`, `tls none`, `cleartext-login`, `max-errors N`, `max-idle-commands N`,
    `max-recipients N`, `max-size N`, `max-received N`, `full` and `broken` (the queue)."""
    world = SmtpWorld()
    role, tls, cleartext_login = "mx", "starttls", False
    settings: dict[str, int] = {"max_errors": 20}
    for word, text in script.preparations:
        match word:
            case "role":
                role = text
            case "tls":
                tls = text
            case "cleartext-login":
                cleartext_login = True
            case "max-errors" | "max-idle-commands" | "max-recipients" | "max-received":
                settings[word.replace("-", "_")] = int(text)
            case "max-size":
                settings["max_message_size"] = int(text)
            case "full":
                world.queue.failure = StoreFull("no space")
            case "broken":
                world.queue.failure = Transient("no luck")
            case _:
                raise AssertionError(f"{script.name}: @ {word} is unknown")
    world.settings = SmtpSettings(**settings)
    async with world.serve(cast(Role, role), tls=cast(Tls, tls), cleartext_login=cleartext_login) as live:
        await play(script, await wire.connect("127.0.0.1", live.port, tls_ends.contexts()[1]))
    assert world.queue.open_drafts == 0


@pytest.mark.parametrize("script", scripts("smtp"), ids=lambda script: script.name)
@pytest.mark.parametrize("wire", [SocketWire, OctetWire], ids=["flights", "octets"])
@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_live_port(
    script: Script, wire: type[SocketWire], loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """A connection answers as the script says, however the octets arrive."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(play_live(script, wire))
