"""Log-ins, slowed down where somebody guesses passwords.

Guarantees: who fails again and again from one address waits longer and longer before the next password is looked at,
at most LONGEST_DELAY_S, in whatever service and process, and however many connections there are from that address; so
no faster guessing comes from hanging up early. Log-ins from one address have a share of the process and no more: who
guesses there keeps nobody elsewhere waiting. Guesses at one name from many addresses are slowed, too, but the right
password is held back by them for at most LONGEST_DELAY_OF_NAME_S, and not at all where it came from lately. Names that
nobody has are treated like any.

Leaves to others: passwords (the Directory), what is remembered of failures (Penalties), words (the sessions).
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from maillib import maillog
from maillib.address import Address
from maillib.errors import AddressError, AuthenticationFailed, TemporaryError, Transient
from maillib.ports.directory import Account, Directory
from maillib.ports.penalties import LONGEST_DELAY_S, Penalties, delay_s

LONGEST_DELAY_OF_NAME_S = 1.0
"""Anybody can bring it about for anybody, so it has to be bearable."""

AT_ONCE = 8
"""Log-ins from one address, or one network, whose passwords are checked at the same time."""

MOST_WAITING = 120
"""Others from there that wait for their turn: a second, at the rate at which passwords are checked."""

REFUSAL_DELAY_S = 1.0
"""Of the answer to who comes then: try later."""

POLL_S = 0.1
"""Of who waits for a turn that another process may give back early."""

UNNOTED_DELAY_S = 1.0
"""Of the answer to a failure that could not be counted."""

WELCOME = 10_000
"""Pairs of address and name that are known to go together: a few megabytes."""

MAX_NAME = 320
"""Characters of a name that is no address: no address has more."""


@dataclass(slots=True)
class _Door:
    """Who is at it from one address or network."""

    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    present: int = 0


class Doorkeeper:
    """One for all sessions of a process."""

    def __init__(
        self,
        directory: Directory,
        penalties: Penalties,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._directory = directory
        self._penalties = penalties
        self._clock = clock
        self._sleep = sleep
        self._addresses: dict[str, _Door] = {}
        self._networks: dict[str, _Door] = {}
        """Around the addresses: of IPv6 a /48, as a customer of a provider may have, of IPv4 the address itself."""
        self._welcome: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def authenticate(self, login: str, password: str, *, service: str, host: str) -> Account:
        """As the Directory does, for a client at `host`. Raises Transient also when too many log in from there."""
        address, name = _network(host, 64), _name(login)
        began = self._clock()
        async with self._turn(self._addresses, address):
            if not await self._may_try(address, name, began):
                raise Transient(f"log-ins from {address} fail, and too many come at a time")
            async with self._turn(self._networks, _network(host, 48)):
                try:
                    account = await self._directory.authenticate(login, password, service=service)
                except AuthenticationFailed:
                    if not await self._noted(self._penalties.failed(address, name)):
                        await self._sleep(UNNOTED_DELAY_S)
                    raise
        await self._noted(self._penalties.succeeded(address, name))
        self._welcome[address, name] = None
        self._welcome.move_to_end((address, name))
        if len(self._welcome) > WELCOME:
            self._welcome.popitem(last=False)
        return account

    @asynccontextmanager
    async def _turn(self, doors: dict[str, _Door], where: str) -> AsyncIterator[None]:
        """Be one of AT_ONCE. Raises Transient when too many are there already."""
        door = doors.setdefault(where, _Door())
        if door.present >= AT_ONCE + MOST_WAITING:
            await self._sleep(REFUSAL_DELAY_S)
            raise Transient(f"too many log-ins wait from {where}")
        door.present += 1
        try:
            async with door.turns:
                yield
        finally:
            door.present -= 1
            if not door.present:
                del doors[where]

    async def _may_try(self, address: str, name: str, began: float) -> bool:
        """Wait until a password for `name` from `address` may be looked at; False: that would take too long."""
        waited = self._clock() - began
        slowed = False
        try:
            while left := await self._left(address, name, waited):
                if waited > LONGEST_DELAY_S:
                    return False
                await self._sleep(min(left, POLL_S))
                waited = self._clock() - began
                slowed = True
        except TemporaryError as error:
            maillog.problem(what="log-in penalties", error=str(error))
        if slowed:
            maillog.login_slowed(user=name, peer=address, wait_s=waited)
        return True

    async def _left(self, address: str, name: str, waited: float) -> float:
        """How much longer to wait; 0: it is their turn."""
        left = self._penalties.wait_s(address)
        if (address, name) not in self._welcome:
            of_name = min(delay_s(self._penalties.failures(name)), LONGEST_DELAY_OF_NAME_S)
            left = max(left, of_name - waited)
        if left > 0:
            return left
        return 0.0 if await self._penalties.take_turn(address) else POLL_S

    async def _noted(self, note: Awaitable[None]) -> bool:
        """Nobody is kept out because the engine cannot write."""
        try:
            await note
        except TemporaryError as error:
            maillog.problem(what="log-in penalties", error=str(error))
            return False
        return True


def _name(login: str) -> str:
    """One text for all spellings of an address."""
    try:
        return Address.parse(login).key
    except AddressError:
        return login[:MAX_NAME].casefold()


def _network(host: str, bits: int) -> str:
    """What counts as one: an IPv4 address; of IPv6 a /64, which one host can have all to itself, or so many bits."""
    if ":" not in host:
        return host
    import ipaddress  # most clients of most hosts have IPv4

    return str(ipaddress.ip_network((host.partition("%")[0], bits), strict=False))
