"""What a plan compares: services as the spec wants them, and everything as it is now. `survey` finds them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from maillib.settings.base import Json
from orchestrator import portmoves
from orchestrator.fields import SocketAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One service as the spec wants it."""

    name: str
    enabled: bool
    depends_on: tuple[str, ...]
    service: Mapping[str, Json]
    """`service` of its JSON file."""
    digest: str
    section: Mapping[str, str]
    """Its supervisord section; empty when it is not enabled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """One service as it is."""

    name: str
    state: str
    """In the words of `status`."""
    loaded: bool
    """supervisord has a program for it."""
    serving: bool
    """A master answers that is not stopping."""
    supervised: bool
    """That master is the one supervisord has started."""
    digest: str | None
    code: str | None
    version: str | None = None
    """Of its master's program, like `code`."""
    certificate: tuple[str | None, str | None] = (None, None)
    """Digest of the certificate that it serves with, and of the file as it is now."""
    service: Mapping[str, Json]
    """What its master runs; what was applied last where no master answers."""
    listening: tuple[str, ...] | None = None
    """Addresses that its master truly listens on; None: as `service` says."""
    room: int = 0
    """Connections that its workers can count."""
    section: Mapping[str, str]
    """What supervisord has loaded for it."""
    enabled: bool
    """By the spec that was applied last."""
    depends_on: tuple[str, ...]
    sessions: int
    hold: str | None
    """Who stopped it by hand, when, why."""

    @property
    def drain_s(self) -> float:
        """How long its sessions may go on once it stops or is replaced."""
        stop = self.service.get("stop")
        drain = stop.get("drain") if isinstance(stop, Mapping) else None
        return float(drain) if isinstance(drain, (int, float)) else 0.0

    @property
    def let_go(self) -> tuple[str, ...]:
        """Listeners that its configuration has and its master has closed: another service was to take them."""
        if not self.serving or self.listening is None:
            return ()
        return tuple(sorted({str(address) for address in portmoves.addresses(self.service)} - {*self.listening}))

    @property
    def addresses(self) -> portmoves.Addresses:
        """That it holds now."""
        if not self.serving:
            return frozenset()
        if self.listening is None:
            return portmoves.addresses(self.service)
        return frozenset(map(SocketAddress.parse, self.listening))


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All that a plan depends on besides the spec."""

    base: int | None
    """Generation that holds."""
    services: Mapping[str, Live]
    code: str
    """Digest of the program code on disk."""
    agent: str | None
    """State of the agent; None where supervisord does not answer: it will start one."""
    agent_code: tuple[str | None, str | None] = (None, None)
    """Digest of the program code that the agent runs, and of that on disk; None: it does not answer."""
    supervised: bool
    """supervisord answers."""
    certificate_due: str | None = None
    """Why a new certificate will be made."""
    waiting: int | None = None
    """Messages in the queue; None: we may not look."""

    def of_one_program(self) -> "World":
        """The same, all services of the program on disk: no way back leads to an older one."""
        services = {name: replace(live, code=self.code) for name, live in self.services.items()}
        return replace(self, services=services)
