"""What has to be done so that what runs is what the spec wants, and why. Pure: facts in, plan out.

Which change needs what:
- a key of the service's JSON file: `reload` — new workers on the same listeners (or changed ones), the old ones drain;
- the program code on disk differs from what the master runs: `restart` — the same, and the master executes itself anew;
- the service lives outside the supervisord that runs, after that was killed: `restart` — a new master takes its
  listeners over;
- the supervisord section (stop signal, command): `restart` with new connections refused meanwhile, since supervisord
  replaces a changed program only by stop and start;
- a port moves between one address and every address: the same, since a host gives it to one of the two only;
- anything else of the service in the spec (its dependencies): `live` — no process notices.
`apply` performs exactly these actions, in this order.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from maillib.settings.base import Json
from orchestrator import portmoves
from orchestrator.admin.ownership import AccountAction
from orchestrator.place import AGENT

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
    START = "start"
    """supervisord starts it; a master that lives outside of it is taken over."""
    REPLACE = "replace"
    """Its section changed: stop, remove, add, start."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One difference: where (a JSON pointer into the spec, or a fact of this host), what is, what will be."""

    path: str
    before: Json
    after: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What it costs those who are connected, and those who want to be."""

    new_connections: Literal["uninterrupted", "refused"]
    sessions_now: int
    sessions_kept: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    service: str
    verb: Verb
    because: tuple[Reason, ...]
    effect: Effect
    way: Way
    drain_s: float
    """How long sessions that are open now may go on."""

    @property
    def changes(self) -> bool:
        return self.verb not in (Verb.NONE, Verb.HOLD)


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
    certificate: tuple[str | None, str | None] = (None, None)
    """Digest of the certificate that it serves with, and of the file as it is now."""
    service: Mapping[str, Json]
    """What its master runs; what was applied last where no master answers."""
    section: Mapping[str, str]
    """What supervisord has loaded for it."""
    enabled: bool
    """By the spec that was applied last."""
    depends_on: tuple[str, ...]
    sessions: int
    hold: str | None
    """Who stopped it by hand, when, why."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    base: int | None
    supervised: bool
    actions: tuple[Action, ...]
    accounts: tuple[AccountAction, ...] = ()
    """Of the objects of the directory."""

    @property
    def changes(self) -> bool:
        return any(action.is_change for action in self.accounts) or any(action.changes for action in self.actions)

    def action(self, service: str) -> Action | None:
        return next((action for action in self.actions if action.service == service), None)


def plan(
    wanted: Sequence[Wanted], world: World, *, ignore_holds: bool = False, accounts: Sequence[AccountAction] = ()
) -> Plan:
    """The actions that lead from `world` to `wanted`: removals and stops first, then in dependency order.

    Where a port moves from one service to another, the one that lets it go comes first.

    Raises nothing; the spec is valid. `ignore_holds`: what was stopped by hand is started again.
    """
    names = {service.name for service in wanted}
    ending = [_ending(live, Verb.REMOVE) for name, live in sorted(world.services.items()) if name not in names]
    stops: list[Action] = []
    rest: list[Action] = []
    holders = {name: live.service for name, live in world.services.items() if live.serving}
    takers = {service.name: service.service for service in in_order(wanted)}
    by_name = {service.name: service for service in wanted}
    for name in portmoves.givers_first(takers, holders):
        action = _decide(by_name[name], world, ignore_holds=ignore_holds)
        (stops if action.verb is Verb.STOP else rest).append(action)
    return Plan(
        base=world.base,
        supervised=world.supervised,
        # Who depends on others stops before them.
        actions=(*_mend_agent(world), *ending, *reversed(stops), *rest),
        accounts=tuple(accounts),
    )


def in_order(wanted: Sequence[Wanted]) -> list[Wanted]:
    """Each after all it depends on; otherwise as the spec has them."""
    by_name = {service.name: service for service in wanted}
    placed: dict[str, Wanted] = {}

    def place(service: Wanted) -> None:
        for name in service.depends_on:
            if name in by_name and name not in placed:
                place(by_name[name])
        placed.setdefault(service.name, service)

    for service in wanted:
        place(service)
    return list(placed.values())


def differences(before: Json, after: Json, path: str = "") -> Iterator[Reason]:
    """Where two JSON values differ, as deep as they can be compared."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}):
            yield from differences(before.get(key), after.get(key), f"{path}/{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, f"{path}/{index}")
    elif before != after or isinstance(before, bool) is not isinstance(after, bool):
        yield Reason(path, before, after)


_OF_THE_SUITE = ("hostname", "tls", "state_dir", "run_dir")
"""Keys of a service's file that stand at the top of the spec."""


def _decide(wanted: Wanted, world: World, *, ignore_holds: bool) -> Action:
    live = world.services.get(wanted.name)
    if live is None:
        return _new(wanted)
    if not wanted.enabled:
        return _ending(live, Verb.STOP) if live.loaded or live.serving else _action(Verb.NONE, live, (), refused=True)
    keys, section = tuple(_changed_keys(wanted, live)), tuple(_changed_section(wanted, live))
    way = Way.REPLACE if section else Way.START
    if not live.serving:
        if live.hold is not None and not ignore_holds:
            held = Reason("/hold", live.hold, live.hold)
            return _action(Verb.HOLD, live, (held, *keys, *section), way=way, refused=True)
        return _action(Verb.START, live, (_why_start(live), *keys, *section), way=way)
    if not live.supervised:
        return _action(Verb.RESTART, live, (Reason("/supervisord", "does not know it", "running"), *keys), way=way)
    if section or portmoves.in_its_own_way(live.service, wanted.service):
        return _action(Verb.RESTART, live, (*keys, *section), way=Way.REPLACE, refused=True)
    if live.code != world.code:
        return _action(Verb.RESTART, live, (*keys, Reason("/program", live.code, world.code)))
    if because := (*keys, *_new_certificate(wanted, live, world), *_failure(live)):
        return _action(Verb.RELOAD, live, because)
    if live.state == "starting":
        return _action(Verb.START, live, (_why_start(live),), way=Way.START)
    if live.depends_on != wanted.depends_on:
        path = f"/services/{wanted.name}/depends_on"
        return _action(Verb.LIVE, live, (Reason(path, [*live.depends_on], [*wanted.depends_on]),))
    return _action(Verb.NONE, live, ())


def _why_start(live: Live) -> Reason:
    if not live.enabled:
        return Reason(f"/services/{live.name}/enabled", False, True)
    return Reason("/state", live.state, "running")


def _failure(live: Live) -> tuple[Reason, ...]:
    """Its master lives, its workers do not become ready."""
    return (Reason("/state", live.state, "running"),) if live.state == "failed" else ()


def _changed_section(wanted: Wanted, live: Live) -> Iterator[Reason]:
    """A program that supervisord does not have has no section that could change."""
    if live.section:
        yield from differences(dict(live.section), dict(wanted.section), f"/supervisord/program:{wanted.name}")


def _new_certificate(wanted: Wanted, live: Live, world: World) -> tuple[Reason, ...]:
    if wanted.service.get("tls") is None:
        return ()
    if world.certificate_due is not None:
        return (Reason("/tls/certificate", world.certificate_due, "a new one"),)
    served, found = live.certificate
    return (Reason("/tls/certificate", served, found),) if served and found and served != found else ()


def _changed_keys(wanted: Wanted, live: Live) -> Iterator[Reason]:
    if live.digest == wanted.digest:
        return
    found = [*differences(dict(live.service), dict(wanted.service))]
    for reason in found:
        prefix = "" if reason.path.split("/")[1] in _OF_THE_SUITE else f"/services/{wanted.name}"
        yield Reason(prefix + reason.path, reason.before, reason.after)
    if not found:  # it runs from a generation that is not there any more
        yield Reason(f"/services/{wanted.name}", live.digest, wanted.digest)


def _new(wanted: Wanted) -> Action:
    reason = Reason(f"/services/{wanted.name}", None, {"protocol": wanted.service.get("protocol")})
    effect = Effect(new_connections="uninterrupted", sessions_now=0, sessions_kept=0)
    if not wanted.enabled:
        return Action(service=wanted.name, verb=Verb.NONE, because=(), effect=effect, way=Way.IN_PLACE, drain_s=0.0)
    return Action(service=wanted.name, verb=Verb.ADD, because=(reason,), effect=effect, way=Way.START, drain_s=0.0)


def _ending(live: Live, verb: Verb) -> Action:
    path = f"/services/{live.name}"
    reason = (
        Reason(path, {"protocol": live.service.get("protocol")}, None)
        if verb is Verb.REMOVE
        else Reason(f"{path}/enabled", True, False)
    )
    return _action(verb, live, (reason,), refused=True)


def _action(
    verb: Verb, live: Live, because: tuple[Reason, ...], *, way: Way = Way.IN_PLACE, refused: bool = False
) -> Action:
    drain_s = _drain_s(live)
    touched = verb not in (Verb.NONE, Verb.HOLD, Verb.LIVE)
    effect = Effect(
        new_connections="refused" if refused else "uninterrupted",
        sessions_now=live.sessions,
        sessions_kept=0 if touched and drain_s == 0 else live.sessions,
    )
    return Action(service=live.name, verb=verb, because=because, effect=effect, way=way, drain_s=drain_s)


def _drain_s(live: Live) -> float:
    """How long its sessions may go on once it stops or is replaced."""
    stop = live.service.get("stop")
    drain = stop.get("drain") if isinstance(stop, Mapping) else None
    return float(drain) if isinstance(drain, (int, float)) else 0.0


def _mend_agent(world: World) -> Iterator[Action]:
    """It has no sessions and no state: a new one goes on where it was."""
    effect = Effect(new_connections="uninterrupted", sessions_now=0, sessions_kept=0)
    runs, found = world.agent_code
    if world.agent not in (None, "running", "starting"):
        because = (Reason("/state", world.agent, "running"),)
        yield Action(service=AGENT, verb=Verb.START, because=because, effect=effect, way=Way.START, drain_s=0.0)
    elif runs is not None and runs != found:
        because = (Reason("/program", runs, found),)
        yield Action(service=AGENT, verb=Verb.RESTART, because=because, effect=effect, way=Way.REPLACE, drain_s=0.0)


def as_json(todo: Plan) -> Json:
    """For machines, and for the generation."""
    return {
        "schema_version": SCHEMA_VERSION,
        "generation": todo.base,
        "supervisord": "none" if todo.supervised else "start",
        "actions": [
            {
                "service": action.service,
                "action": action.verb.value,
                "because": [
                    {"path": reason.path, "before": reason.before, "after": reason.after} for reason in action.because
                ],
                "effect": {
                    "new_connections": action.effect.new_connections,
                    "sessions_now": action.effect.sessions_now,
                    "sessions_kept": action.effect.sessions_kept,
                },
            }
            for action in todo.actions
        ],
        "accounts": [action.as_json() for action in todo.accounts],
    }
