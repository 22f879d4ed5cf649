"""What has to be done so that what runs is what the spec wants, and why. Pure: facts in, plan out.

Which change needs what, by the class that each key declares (`maillib.settings.change`):
- live, re-listen: the running workers take the new values, and listeners that open or close;
- reload: new workers on the same listeners, the old ones drain; so also for a new certificate, and after a failure;
- restart: its supervisord section differs, and supervisord replaces a program only by stop and start: new connections
  are refused meanwhile.
Besides, a `restart` with nobody refused:
- the program code on disk differs from what the master runs: new workers, and the master executes itself anew;
- the service lives outside the supervisord that runs, after that was killed: a new master takes its listeners over.
What no process is told (dependencies) is `live` too. `apply` performs exactly these actions, in this order.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from maillib.settings.base import Json
from maillib.settings.change import Change, dearest
from maillib.settings.service import change_of
from maillib.version import VERSION
from orchestrator import portmoves
from orchestrator.admin.ownership import AccountAction
from orchestrator.differences import Difference, differences
from orchestrator.facts import Live, Wanted, World
from orchestrator.fields import SocketAddress
from orchestrator.order import in_order
from orchestrator.place import AGENT
from orchestrator.portmoves import Held, Moves

SCHEMA_VERSION = 1


class Verb(StrEnum):
    """What is done to one service."""

    ADD = "add"
    REMOVE = "remove"
    START = "start"
    STOP = "stop"
    LIVE = "live"
    RELOAD = "reload"
    RESTART = "restart"
    HOLD = "hold"
    NONE = "none"


class Way(StrEnum):
    """By which way an action is performed; the rest follows from its verb."""

    IN_PLACE = "in place"
    """Its master does it, or there is nothing to do."""
    UNNOTICED = "unnoticed"
    """No process is told."""
    RETUNE = "retune"
    """Its master hands it to the workers that run."""
    START = "start"
    """supervisord starts it; a master that lives outside of it is taken over."""
    REPLACE = "replace"
    """Its section changed: stop, remove, add, start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What it costs those who are connected, and those who want to be."""

    new_connections: Literal["uninterrupted", "refused"]
    sessions_now: int = 0
    sessions_kept: int = 0
    drain_limit_s: float | None = None
    """How long these may go on; None: nothing drains."""
    listeners_open: tuple[str, ...] = ()
    """Addresses that are listened on from then on."""
    listeners_close: tuple[str, ...] = ()
    messages_waiting: int | None = None
    """In the queue, for a service that delivers it; None: not its matter, or nobody can tell."""
    data_kept: tuple[str, ...] = ()
    """What stays of a service that goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    service: str
    verb: Verb
    because: tuple[Difference, ...] = ()
    change: Change | None = None
    """The class of the changed key that costs most; None: no key is the reason."""
    effect: Effect
    way: Way
    first: tuple[Held, ...] = ()
    """Listeners that close right before, since their ports are taken; the services that have them stay as they are."""
    drain_s: float = 0.0
    """How long sessions that are open now may go on, should they have to end."""

    @property
    def changes(self) -> bool:
        return self.verb not in (Verb.NONE, Verb.HOLD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    base: int | None
    supervised: bool
    actions: tuple[Action, ...]
    accounts: tuple[AccountAction, ...] = ()

    @property
    def changes(self) -> bool:
        return any(action.is_change for action in self.accounts) or any(action.changes for action in self.actions)

    def action(self, service: str) -> Action | None:
        return next((action for action in self.actions if action.service == service), None)


def plan(
    wanted: Sequence[Wanted], world: World, *, ignore_holds: bool = False, accounts: Sequence[AccountAction] = ()
) -> Plan:
    """The actions that lead from `world` to `wanted`: removals and stops first, then in dependency order.

    Where a port moves from one service to another, the one that lets it go comes first; where two exchange ports, one
    closes a listener early (`Action.first`). Raises nothing; the spec is valid. `ignore_holds`: what was stopped by
    hand is started again.
    """
    by_name = {service.name: service for service in wanted}
    removed = [_end(live, Verb.REMOVE, world) for name, live in sorted(world.services.items()) if name not in by_name]
    by_dependency = in_order({service.name: service.depends_on for service in wanted})
    enabled = {name: by_name[name].service for name in by_dependency if by_name[name].enabled}
    disabled = [_disabled(name, world) for name in by_dependency if name not in enabled]
    ports = portmoves.moves(enabled, {name: live.addresses for name, live in world.services.items()})
    return Plan(
        base=world.base,
        supervised=world.supervised,
        actions=(
            *_mend_agent(world),
            *removed,
            # Who depends on others stops before them.
            *reversed([action for action in disabled if action.verb is Verb.STOP]),
            *(action for action in disabled if action.verb is not Verb.STOP),
            *(_enabled(by_name[name], world, ports, ignore_holds=ignore_holds) for name in ports.order),
        ),
        accounts=tuple(accounts),
    )


OF_THE_SUITE = ("hostname", "tls", "state_dir", "run_dir")
"""Keys of a service's file that stand at the top of the spec."""

_DATA = ("mail", "queue")
"""What no plan touches, whatever ends."""


def _disabled(name: str, world: World) -> Action:
    live = world.services.get(name)
    if live is not None and (live.loaded or live.serving):
        return _end(live, Verb.STOP, world)
    sessions = live.sessions if live is not None else 0
    effect = Effect(new_connections="refused", sessions_now=sessions, sessions_kept=sessions)
    return Action(service=name, verb=Verb.NONE, effect=effect, way=Way.IN_PLACE)


def _enabled(wanted: Wanted, world: World, ports: Moves, *, ignore_holds: bool) -> Action:
    live = world.services.get(wanted.name)
    if live is None:
        return _new(wanted, world, ports)
    case = _Case(wanted, live, world, ports)
    if not live.serving:
        way = Way.REPLACE if case.section else Way.START
        if live.hold is not None and not ignore_holds:
            held = Difference("/hold", live.hold, live.hold)
            return case.action(Verb.HOLD, way, (held, *case.keys, *case.section))
        return case.action(Verb.START, way, (_why_start(live), *case.keys, *case.section))
    if not live.supervised:
        lost = Difference("/supervisord", "does not know it", "running")
        return case.action(Verb.RESTART, Way.START, (lost, *case.keys))
    if case.section:
        return case.action(Verb.RESTART, Way.REPLACE, (*case.keys, *case.section))
    if live.code != world.code:
        program = Difference("/program", f"{live.version} ({live.code})", f"{VERSION} ({world.code})")
        return case.action(Verb.RESTART, Way.IN_PLACE, (*case.keys, program))
    return _in_place(case)


def _in_place(case: "_Case") -> Action:
    """Its master runs, is the one of supervisord, and has the program of today."""
    for_workers = (*_new_certificate(case), *_failure(case.live))
    told = (*case.keys, *case.closed, *for_workers)
    starting = case.live.state == "starting"
    if starting and not told:
        return case.action(Verb.START, Way.START, (_why_start(case.live), *case.dependencies))
    if for_workers or starting or case.change is Change.RELOAD:
        return case.action(Verb.RELOAD, Way.IN_PLACE, (*told, *case.dependencies))
    if told:
        verb = Verb.RELOAD if case.change is Change.RELISTEN else Verb.LIVE
        return case.action(verb, Way.RETUNE, (*told, *case.dependencies))
    if case.dependencies:
        return case.action(Verb.LIVE, Way.UNNOTICED, case.dependencies)
    return case.action(Verb.NONE, Way.IN_PLACE)


class _Case:
    """One service that is wanted and was seen: what differs, and the action for it."""

    def __init__(self, wanted: Wanted, live: Live, world: World, ports: Moves) -> None:
        self.wanted = wanted
        self.live = live
        self.world = world
        self._ports = ports
        self.keys = tuple(_changed_keys(wanted, live))
        self.section = tuple(_changed_section(wanted, live))
        self.closed = tuple(_closed_listeners(wanted, live))
        self.dependencies = tuple(_changed_dependencies(wanted, live))
        self.change = dearest(self._changes())

    def _changes(self) -> Iterator[Change]:
        protocol = str(self.wanted.service.get("protocol"))
        for key in self.keys:
            keys = key.path.removeprefix(f"/services/{self.live.name}").split("/")[1:]
            uncounted = keys == ["limits", "connections"] and self._needs_more_room()
            yield Change.RELOAD if uncounted else change_of(protocol, keys)
        if self.section:
            yield Change.RESTART
        if self.closed:
            yield Change.RELISTEN
        if self.dependencies:
            yield Change.LIVE

    def _needs_more_room(self) -> bool:
        limits = self.wanted.service.get("limits")
        connections = limits.get("connections") if isinstance(limits, Mapping) else None
        return isinstance(connections, int) and connections > self.live.room

    def action(self, verb: Verb, way: Way, because: tuple[Difference, ...] = ()) -> Action:
        live, name = self.live, self.live.name
        changes = verb not in (Verb.NONE, Verb.HOLD)
        before, after = live.addresses, portmoves.addresses(self.wanted.service)
        closes = way is Way.REPLACE or name in self._ports.early
        drains = verb is Verb.RESTART or (verb is Verb.RELOAD and way is Way.IN_PLACE)
        effect = Effect(
            new_connections="refused" if verb is Verb.HOLD or (live.serving and closes) else "uninterrupted",
            sessions_now=live.sessions,
            sessions_kept=0 if drains and live.drain_s == 0 else live.sessions,
            drain_limit_s=live.drain_s if drains else None,
            listeners_open=_sorted(after - before) if changes else (),
            listeners_close=_sorted(before - after) if changes else (),
            messages_waiting=_waiting(self.wanted.service, self.world),
        )
        return Action(
            service=name,
            verb=verb,
            because=because,
            change=self.change,
            effect=effect,
            way=way,
            first=self._ports.first[name],
            drain_s=live.drain_s,
        )


def _why_start(live: Live) -> Difference:
    if not live.enabled:
        return Difference(f"/services/{live.name}/enabled", False, True)
    return Difference("/state", live.state, "running")


def _failure(live: Live) -> tuple[Difference, ...]:
    """Its master lives, its workers do not become ready."""
    return (Difference("/state", live.state, "running"),) if live.state == "failed" else ()


def _changed_section(wanted: Wanted, live: Live) -> Iterator[Difference]:
    """A program that supervisord does not have has no section that could change."""
    if live.section:
        yield from differences(dict(live.section), dict(wanted.section), f"/supervisord/program:{wanted.name}")


def _closed_listeners(wanted: Wanted, live: Live) -> Iterator[Difference]:
    """Listeners that were let go for a service which then did not come, and are wanted still."""
    still = {str(address) for address in portmoves.addresses(wanted.service)}
    for address in live.let_go:
        if address in still:
            yield Difference(f"/listening/{address}", False, True)


def _changed_dependencies(wanted: Wanted, live: Live) -> Iterator[Difference]:
    if live.depends_on != wanted.depends_on:
        yield Difference(f"/services/{wanted.name}/depends_on", [*live.depends_on], [*wanted.depends_on])


def _new_certificate(case: _Case) -> tuple[Difference, ...]:
    if case.wanted.service.get("tls") is None:
        return ()
    if case.world.certificate_due is not None:
        return (Difference("/tls/certificate", case.world.certificate_due, "a new one"),)
    served, found = case.live.certificate
    return (Difference("/tls/certificate", served, found),) if served and found and served != found else ()


def _changed_keys(wanted: Wanted, live: Live) -> Iterator[Difference]:
    if live.digest == wanted.digest:
        return
    found = [*differences(dict(live.service), dict(wanted.service))]
    for key in found:
        prefix = "" if key.path.split("/")[1] in OF_THE_SUITE else f"/services/{wanted.name}"
        yield Difference(prefix + key.path, key.before, key.after)
    if not found:  # it runs from a generation that is not there any more
        yield Difference(f"/services/{wanted.name}", live.digest, wanted.digest)


def _new(wanted: Wanted, world: World, ports: Moves) -> Action:
    effect = Effect(
        new_connections="uninterrupted",
        listeners_open=_sorted(portmoves.addresses(wanted.service)),
        messages_waiting=_waiting(wanted.service, world),
    )
    reason = Difference(f"/services/{wanted.name}", None, {"protocol": wanted.service.get("protocol")})
    first = ports.first[wanted.name]
    return Action(service=wanted.name, verb=Verb.ADD, because=(reason,), effect=effect, way=Way.START, first=first)


def _end(live: Live, verb: Verb, world: World) -> Action:
    path = f"/services/{live.name}"
    reason = (
        Difference(path, {"protocol": live.service.get("protocol")}, None)
        if verb is Verb.REMOVE
        else Difference(f"{path}/enabled", True, False)
    )
    effect = Effect(
        new_connections="refused",
        sessions_now=live.sessions,
        sessions_kept=0 if live.drain_s == 0 else live.sessions,
        drain_limit_s=live.drain_s,
        listeners_close=_sorted(live.addresses),
        messages_waiting=_waiting(live.service, world),
        data_kept=_DATA,
    )
    return Action(
        service=live.name, verb=verb, because=(reason,), effect=effect, way=Way.IN_PLACE, drain_s=live.drain_s
    )


def _sorted(addresses: Iterable[SocketAddress]) -> tuple[str, ...]:
    return tuple(sorted(map(str, addresses)))


def _waiting(service: Mapping[str, Json], world: World) -> int | None:
    return world.waiting if service.get("protocol") == "spool" else None


def _mend_agent(world: World) -> Iterator[Action]:
    """It has no sessions and no state: a new one goes on where it was."""
    effect = Effect(new_connections="uninterrupted")
    runs, found = world.agent_code
    if world.agent not in (None, "running", "starting"):
        because = (Difference("/state", world.agent, "running"),)
        yield Action(service=AGENT, verb=Verb.START, because=because, effect=effect, way=Way.START)
    elif runs is not None and runs != found:
        because = (Difference("/program", runs, found),)
        yield Action(service=AGENT, verb=Verb.RESTART, because=because, effect=effect, way=Way.REPLACE)


def as_json(todo: Plan) -> dict[str, Json]:
    """For machines, and for the generation."""
    return {
        "schema_version": SCHEMA_VERSION,
        "generation": todo.base,
        "supervisord": "none" if todo.supervised else "start",
        "summary": {**Counter(action.verb.value for action in todo.actions)},
        "actions": [_action_json(action) for action in todo.actions],
        "accounts": [action.as_json() for action in todo.accounts],
    }


def _action_json(action: Action) -> dict[str, Json]:
    effect = action.effect
    return {
        "service": action.service,
        "action": action.verb.value,
        "class": action.change.value if action.change else None,
        "because": [{"path": key.path, "before": key.before, "after": key.after} for key in action.because],
        "effect": {
            "new_connections": effect.new_connections,
            "sessions_now": effect.sessions_now,
            "sessions_kept": effect.sessions_kept,
            "drain_limit_s": effect.drain_limit_s,
            "listeners_open": [*effect.listeners_open],
            "listeners_close": [*effect.listeners_close],
            "messages_waiting": effect.messages_waiting,
            "data_kept": [*effect.data_kept],
        },
    }
