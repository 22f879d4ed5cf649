"""Every POP dialog, against the session alone and against a live port."""

import asyncio
from collections.abc import Callable

import pytest

from maillib.settings.pop import PopSettings
from tests.dialogs.runner import Script, SessionWire, SocketWire, play, scripts
from tests.support import live_port, tls
from tests.support.event_loops import LOOPS, NAMES
from tests.support.pop_world import PopWorld

SCRIPTS = scripts("pop")


async def prepare(script: Script) -> PopWorld:
    """Words: `message OCTETS` (escaped), `size N` (a message of N octets), `strict` (no log-in without TLS), `no-stls`,
    `max-errors N`, `held` (another session has the maildrop), `login-delay N`, `logged-in-before` (just now)."""
    world = await PopWorld().furnish()
    for word, text in script.preparations:
        match word:
            case "message":
                await world.deliver(text.encode().decode("unicode_escape").encode("latin-1"))
            case "size":
                await world.deliver(b"Subject: x\r\n\r\n" + b"y" * (int(text) - 16) + b"\r\n")
            case "strict":
                world.cleartext_login = False
            case "no-stls":
                world.stls = False
            case "max-errors":
                world.settings = PopSettings(max_errors=int(text))
            case "login-delay":
                world.settings = PopSettings(login_delay=float(text))
            case "logged-in-before":
                await world.log_in_and_out()
            case "held":
                await world.leases.acquire(world.lease_name)
            case _:
                raise AssertionError(f"{script.name}: @ {word} is unknown")
    return world


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
@pytest.mark.parametrize(
    "cut", [lambda data: [data], lambda data: [data[i : i + 1] for i in range(len(data))]], ids=["flights", "octets"]
)
def test_session_alone(script: Script, cut: Callable[[bytes], list[bytes]]) -> None:
    """A session answers as the script says, however the octets arrive."""

    async def main() -> None:
        world = await prepare(script)
        await play(script, SessionWire(world.session(), cut))

    asyncio.run(main())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
@pytest.mark.parametrize("loop_factory", LOOPS, ids=NAMES)
def test_live_port(script: Script, loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A connection answers as the script says, on either event loop."""

    async def main() -> None:
        world = await prepare(script)
        async with live_port.serve(lambda info: world.session(), stls=world.stls) as live:
            await play(script, await SocketWire.connect("127.0.0.1", live.port, tls.contexts()[1]))

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())
