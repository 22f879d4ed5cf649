"""The plan: which change needs what, and that performing it leaves nothing to do."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maillib.settings.base import Json
from maillib.version import VERSION
from orchestrator import portmoves
from orchestrator.admin.ownership import AccountAction, Named
from orchestrator.admin.ownership import Verb as AccountVerb
from orchestrator.differences import differences
from orchestrator.facts import Live, Wanted, World
from orchestrator.order import in_order
from orchestrator.place import AGENT
from orchestrator.plan import Plan, Verb, Way, as_json, plan
from orchestrator.portmoves import Held

_CODE = "code-1"
_SECTION = {"command": "python pop.py", "stopsignal": "TERM"}


def _service(port: int = 2110, **more: Json) -> dict[str, Json]:
    return {
        "protocol": "pop",
        "listen": [{"host": "127.0.0.1", "port": port}],
        "processes": 1,
        "stop": {"drain": 60.0},
        "limits": {"connections": 500},
        "tls": None,
        **more,
    }


def _limits(connections: int) -> Json:
    return {"connections": connections}


def _wanted(name: str = "pop", **more: Any) -> Wanted:
    service = more.pop("service", _service())
    fields = {"enabled": True, "depends_on": (), "digest": str(service), "section": _SECTION, **more}
    return Wanted(name=name, service=service, **fields)


def _live(name: str = "pop", **more: Any) -> Live:
    service = more.pop("service", _service())
    fields: dict[str, Any] = {
        "state": "running",
        "loaded": True,
        "serving": True,
        "supervised": True,
        "digest": str(service),
        "code": _CODE,
        "section": _SECTION,
        "enabled": True,
        "depends_on": (),
        "sessions": 0,
        "room": 896,
        "hold": None,
        **more,
    }
    return Live(name=name, service=service, **fields)


_TLS = _service(tls={"certificate": "/c", "private_key": "/k"})

_STOPPED: dict[str, Any] = {"serving": False, "supervised": False, "state": "stopped", "code": None}


def _world(*services: Live, **more: Any) -> World:
    fields: dict[str, Any] = {"base": 1, "code": _CODE, "agent": "running", "supervised": True, **more}
    return World(services={live.name: live for live in services}, **fields)


@pytest.mark.parametrize(
    ("wanted", "live", "verb", "way", "refused"),
    [
        (_wanted(), _live(), Verb.NONE, Way.IN_PLACE, False),
        (_wanted(), None, Verb.ADD, Way.START, False),
        (_wanted(service=_service(2111)), _live(), Verb.RELOAD, Way.RETUNE, False),
        (_wanted(service=_service(limits=_limits(9))), _live(), Verb.LIVE, Way.RETUNE, False),
        (_wanted(service=_service(2111, limits=_limits(9))), _live(), Verb.RELOAD, Way.RETUNE, False),
        (_wanted(service=_service(2111, processes=2)), _live(), Verb.RELOAD, Way.IN_PLACE, False),
        (_wanted(service=_service(limits=_limits(897))), _live(), Verb.RELOAD, Way.IN_PLACE, False),
        (_wanted(service=_service(limits=_limits(9))), _live(state="starting"), Verb.RELOAD, Way.IN_PLACE, False),
        (_wanted(), _live(listening=()), Verb.RELOAD, Way.RETUNE, False),
        (_wanted(), _live(code="code-0"), Verb.RESTART, Way.IN_PLACE, False),
        (_wanted(service=_service(2111)), _live(code="code-0"), Verb.RESTART, Way.IN_PLACE, False),
        (_wanted(section={**_SECTION, "stopsignal": "INT"}), _live(), Verb.RESTART, Way.REPLACE, True),
        (_wanted(), _live(supervised=False), Verb.RESTART, Way.START, False),
        (_wanted(), _live(**_STOPPED), Verb.START, Way.START, False),
        (_wanted(), _live(**{**_STOPPED, "state": "failed"}), Verb.START, Way.START, False),
        (_wanted(service=_TLS), _live(service=_TLS, certificate=("old", "new")), Verb.RELOAD, Way.IN_PLACE, False),
        (_wanted(service=_TLS), _live(service=_TLS, certificate=("old", "old")), Verb.NONE, Way.IN_PLACE, False),
        (_wanted(service=_TLS), _live(service=_TLS, certificate=("old", None)), Verb.NONE, Way.IN_PLACE, False),
        (_wanted(), _live(state="failed"), Verb.RELOAD, Way.IN_PLACE, False),
        (_wanted(), _live(state="starting"), Verb.START, Way.START, False),
        (_wanted(), _live(**_STOPPED, hold="alice"), Verb.HOLD, Way.START, True),
        (_wanted(depends_on=("smtp",)), _live(), Verb.LIVE, Way.UNNOTICED, False),
        (_wanted(depends_on=("smtp",), service=_service(limits=_limits(9))), _live(), Verb.LIVE, Way.RETUNE, False),
        (_wanted(enabled=False), _live(), Verb.STOP, Way.IN_PLACE, True),
        (_wanted(enabled=False), _live(**{**_STOPPED, "loaded": False}), Verb.NONE, Way.IN_PLACE, True),
        (_wanted(enabled=False), None, Verb.NONE, Way.IN_PLACE, True),
    ],
)
def test_each_difference_needs_its_own_step(
    wanted: Wanted, live: Live | None, verb: Verb, way: Way, refused: bool
) -> None:
    """One difference between spec and world gives one verb, one way, and tells whether connections are refused."""
    [action] = plan([wanted], _world(*([live] if live else []))).actions
    assert (action.verb, action.way) == (verb, way)
    assert action.effect.new_connections == ("refused" if refused else "uninterrupted")


def test_reason_names_key_before_and_after() -> None:
    """A changed key is named by its place in the spec; keys of the whole suite by their own."""
    wanted = _wanted(service=_service(2111, hostname="new.test"))
    live = _live(service=_service(2110, hostname="old.test"))
    [action] = plan([wanted], _world(live)).actions
    assert [(reason.path, reason.before, reason.after) for reason in action.because] == [
        ("/hostname", "old.test", "new.test"),
        ("/services/pop/listen/0/port", 2110, 2111),
    ]


def test_hold_is_respected_until_it_is_reset() -> None:
    """A held service stays, whatever changed; with ignore_holds it is started."""
    held = _live(**_STOPPED, hold="alice, yesterday")
    changed = _wanted(service=_service(2111))
    todo = plan([changed], _world(held))
    assert not todo.changes
    assert todo.actions[0].because[0].path == "/hold"
    assert plan([changed], _world(held), ignore_holds=True).actions[0].verb is Verb.START


def test_sessions_are_kept_unless_the_drain_is_zero() -> None:
    """The effect counts the sessions that are open, and how many of them may finish: all where no worker ends."""
    for drain_s, processes, kept in ((60.0, 2, 3), (0.0, 2, 0), (0.0, 1, 3)):
        live = _live(sessions=3, service=_service(processes=1, stop={"drain": drain_s}))
        wanted = _service(2111, processes=processes, stop={"drain": drain_s})
        [action] = plan([_wanted(service=wanted)], _world(live)).actions
        assert (action.effect.sessions_now, action.effect.sessions_kept) == (3, kept)
        assert action.effect.drain_limit_s == (None if processes == 1 else drain_s)


def test_new_certificate_reloads_only_who_uses_it() -> None:
    """A leaf that will be renewed is a reason for a reload of the services with TLS."""
    files: dict[str, Json] = {"certificate": "c", "private_key": "k"}
    tls, clear = _service(tls=files), _service()
    world = _world(_live("a", service=tls), _live("b", service=clear), certificate_due="it ends")
    todo = plan([_wanted("a", service=tls), _wanted("b", service=clear)], world)
    assert [action.verb for action in todo.actions] == [Verb.RELOAD, Verb.NONE]


def test_order_is_stops_first_then_by_dependency() -> None:
    """Removals come first, then stops of those who depend before those they depend on, then starts the other way."""
    wanted = [
        _wanted("a", depends_on=("b",)),
        _wanted("b"),
        _wanted("c", enabled=False, depends_on=("d",)),
        _wanted("d", enabled=False),
    ]
    todo = plan(wanted, _world(_live("c"), _live("d"), _live("old")))
    assert [(action.service, action.verb) for action in todo.actions] == [
        ("old", Verb.REMOVE),
        ("c", Verb.STOP),
        ("d", Verb.STOP),
        ("b", Verb.ADD),
        ("a", Verb.ADD),
    ]


def _listens(*hosts_and_ports: tuple[str, int]) -> dict[str, Json]:
    return _service(listen=[{"host": host, "port": port} for host, port in hosts_and_ports])


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [
        (("127.0.0.1", 2110), ("", 2110), True),
        (("", 2110), ("::1", 2110), True),
        (("0.0.0.0", 2110), ("127.0.0.1", 2110), True),
        (("127.0.0.1", 2110), ("127.0.0.2", 2110), False),
        (("127.0.0.1", 2110), ("", 2111), False),
    ],
)
def test_port_of_one_address_and_of_all_is_not_had_twice(
    before: tuple[str, int], after: tuple[str, int], refused: bool
) -> None:
    """Where the new listener cannot be had beside the old one, that closes first, and the plan says so."""
    [action] = plan([_wanted(service=_listens(after))], _world(_live(service=_listens(before)))).actions
    assert (action.verb, action.way) == (Verb.RELOAD, Way.RETUNE)
    assert action.effect.new_connections == ("refused" if refused else "uninterrupted")
    [closes] = map(str, portmoves.addresses(_listens(before)))
    assert action.first == ((Held("pop", closes),) if refused else ())


def test_who_lets_a_port_go_comes_before_who_takes_it() -> None:
    """A port moves to a service that stands earlier in the spec: nobody has to close anything early."""
    one, two = (("127.0.0.1", port) for port in (1, 2))
    world = _world(_live("b", service=_listens(one, two)))
    todo = plan([_wanted("a", service=_listens(two)), _wanted("b", service=_listens(one))], world)
    assert [(action.service, action.first) for action in todo.actions] == [("b", ()), ("a", ())]


def test_of_services_that_exchange_ports_one_closes_early() -> None:
    """Round a circle of three, the last one to have its turn lets its port go before the first takes it."""
    ports = {"a": ("127.0.0.1", 1), "b": ("127.0.0.1", 2), "c": ("127.0.0.1", 3)}
    world = _world(*(_live(name, service=_listens(port)) for name, port in ports.items()))
    turned = {"a": ports["b"], "b": ports["c"], "c": ports["a"]}
    todo = plan([_wanted(name, service=_listens(port)) for name, port in turned.items()], world)
    held = {name: portmoves.addresses(_listens(port)) for name, port in ports.items()}
    for action in todo.actions:
        for one in action.first:
            held[one.service] -= {address for address in held[one.service] if str(address) == one.address}
        new = portmoves.addresses(_listens(turned[action.service]))
        assert not any(new & others for name, others in held.items() if name != action.service)
        held[action.service] = new
        early = any(one.service == action.service for other in todo.actions for one in other.first)
        assert action.effect.new_connections == ("refused" if early else "uninterrupted")
    assert sum(len(action.first) for action in todo.actions) == 1


def test_the_plan_tells_what_comes_what_goes_and_what_stays() -> None:
    """Listeners that open and close, mail that waits, the drain limit and the data that a removal leaves."""
    spool = {**_service(listen=[]), "protocol": "spool"}
    world = _world(_live("gone", sessions=2), _live("spool", service=spool), waiting=7)
    wanted = [_wanted("new", service=_service(2111)), _wanted("spool", service={**spool, "processes": 2})]
    rows = as_json(plan(wanted, world))["actions"]
    assert isinstance(rows, list)
    effects = {row["service"]: row["effect"] for row in rows if isinstance(row, dict)}
    empty: dict[str, Json] = {
        "drain_limit_s": None,
        "listeners_open": [],
        "listeners_close": [],
        "messages_waiting": None,
        "data_kept": [],
    }
    kept = {"new_connections": "uninterrupted", "sessions_now": 0, "sessions_kept": 0, **empty}
    assert effects == {
        "new": {**kept, "listeners_open": ["127.0.0.1:2111"]},
        "spool": {**kept, "messages_waiting": 7, "drain_limit_s": 60.0},
        "gone": {
            "new_connections": "refused",
            "sessions_now": 2,
            "sessions_kept": 2,
            **empty,
            "drain_limit_s": 60.0,
            "listeners_close": ["127.0.0.1:2110"],
            "data_kept": ["mail", "queue"],
        },
    }


def test_a_new_program_is_named_by_version_and_code() -> None:
    """Another program on disk is a reason of its own, whatever else has changed."""
    [action] = plan([_wanted()], _world(_live(code="code-0", version="0.0.9"))).actions
    assert [(key.path, key.before, key.after) for key in action.because] == [
        ("/program", "0.0.9 (code-0)", f"{VERSION} (code-1)")
    ]


def test_no_way_back_leads_to_an_older_program() -> None:
    """Where services cannot have their program back, it is no reason to touch them; a changed key still is."""
    old = _world(_live(code="code-0", version="0.0.9"))
    assert not plan([_wanted()], old.of_one_program()).changes
    [action] = plan([_wanted(service=_service(hostname="new.test"))], old.of_one_program()).actions
    assert [key.path for key in action.because] == ["/hostname"]


def test_dead_agent_is_mended_first() -> None:
    """A plan starts the agent when supervisord answers and the agent does not run."""
    todo = plan([_wanted()], _world(_live(), agent="stopped"))
    assert [(action.service, action.verb) for action in todo.actions] == [("agent", Verb.START), ("pop", Verb.NONE)]
    assert todo.changes


def test_accounts_alone_are_a_change() -> None:
    """Changes of accounts make the plan one that has to be applied, though no service is touched."""
    for verb in (AccountVerb.ADD, AccountVerb.KEEP):
        account = AccountAction(verb=verb, object=Named("account", "alice@example.test"), reason="new")
        todo = plan([_wanted()], _world(_live()), accounts=[account])
        assert todo.changes is (verb is AccountVerb.ADD)
        assert not any(action.changes for action in todo.actions)


@pytest.mark.parametrize(
    ("before", "after", "paths"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"b": 1}, ["/a", "/b"]),
        ({"a": [1, 2]}, {"a": [1, 3]}, ["/a/1"]),
        ({"a": [1, 2]}, {"a": [1]}, ["/a"]),
        ({"a": {"b": None}}, {"a": {"b": False}}, ["/a/b"]),
        ({"a": 1}, {"a": True}, ["/a"]),
    ],
)
def test_differences_are_told_as_deep_as_they_go(before: Json, after: Json, paths: list[str]) -> None:
    """Each place where two JSON values differ is named once, lists of unlike length as a whole."""
    assert [reason.path for reason in differences(before, after)] == paths


@pytest.mark.parametrize(
    ("more", "verb"),
    [
        ({"agent_code": ("same", "same")}, None),
        ({"agent_code": (None, "new")}, None),
        ({"agent_code": ("old", "new")}, Verb.RESTART),
        ({"agent": "stopped"}, Verb.START),
        ({"agent": None, "supervised": False}, None),
    ],
)
def test_the_agent_is_mended_and_follows_the_program(more: dict[str, Any], verb: Verb | None) -> None:
    """One that does not run is started, one that runs other code than is on disk is replaced; else it is left alone."""
    action = plan([_wanted()], _world(_live(), **more)).action(AGENT)
    assert (action.verb if action else None) == verb


def _perform(world: World, todo: Plan, wanted: Mapping[str, Wanted], *, ignore_holds: bool) -> World:
    """What `apply` does to the world, as a model."""
    services = dict(world.services)
    for action in todo.actions:
        name = action.service
        match action.verb:
            case Verb.REMOVE:
                del services[name]
            case Verb.STOP:
                services[name] = dataclasses.replace(
                    services[name], loaded=False, serving=False, supervised=False, state="stopped", enabled=False
                )
            case Verb.NONE:
                pass
            case _ if name == AGENT:
                pass
            case Verb.HOLD:
                services[name] = dataclasses.replace(services[name], loaded=True, section=wanted[name].section)
            case Verb.LIVE:
                services[name] = dataclasses.replace(services[name], depends_on=wanted[name].depends_on)
            case _:
                new = wanted[name]
                services[name] = _live(
                    name, service=new.service, digest=new.digest, section=new.section, depends_on=new.depends_on
                )
    return dataclasses.replace(world, services=services, supervised=True, agent="running", certificate_due=None)


_names = st.sampled_from(["a", "b", "c", "d"])
_services = st.builds(_service, st.integers(1, 3))


@st.composite
def _wanted_services(draw: st.DrawFn) -> list[Wanted]:
    names = sorted(draw(st.sets(_names)))
    return [
        _wanted(
            name,
            enabled=draw(st.booleans()),
            service=draw(_services),
            depends_on=tuple(sorted(draw(st.sets(st.sampled_from(names[:index]))))) if index else (),
            section={**_SECTION, "stopsignal": draw(st.sampled_from(["TERM", "INT"]))},
        )
        for index, name in enumerate(names)
    ]


@st.composite
def _worlds(draw: st.DrawFn) -> World:
    def live(name: str) -> Live:
        running = draw(st.booleans())
        state = draw(st.sampled_from(["running", "starting", "failed"] if running else ["stopped", "failed"]))
        return _live(
            name,
            service=draw(_services),
            state=state,
            loaded=draw(st.booleans()),
            serving=running,
            supervised=running and draw(st.booleans()),
            code=draw(st.sampled_from([_CODE, "code-0"])),
            enabled=draw(st.booleans()),
            hold=draw(st.sampled_from([None, "alice"])),
        )

    services = [live(name) for name in sorted(draw(st.sets(_names)))]
    agent = draw(st.sampled_from(["running", "fatal", None]))  # None: there is no supervisord
    return _world(*services, supervised=agent is not None, agent=agent)


@given(wanted=_wanted_services(), world=_worlds(), ignore_holds=st.booleans())
def test_performing_a_plan_leaves_nothing_to_do(wanted: list[Wanted], world: World, ignore_holds: bool) -> None:
    """Whatever the world is, a plan performed on it gives the wanted world, and the next plan changes nothing."""
    by_name = {service.name: service for service in wanted}
    todo = plan(wanted, world, ignore_holds=ignore_holds)
    after = _perform(world, todo, by_name, ignore_holds=ignore_holds)
    for service in wanted:
        live = after.services.get(service.name)
        held = live is not None and live.hold is not None and not live.serving and not ignore_holds
        if service.enabled and not held:
            assert live is not None and live.serving and live.supervised and live.digest == service.digest
        elif not service.enabled:
            assert live is None or not live.serving
    assert after.services.keys() <= by_name.keys()
    assert not plan(wanted, after, ignore_holds=ignore_holds).changes


@given(wanted=_wanted_services())
def test_order_has_dependencies_first(wanted: list[Wanted]) -> None:
    """In the order of the plan everything comes after what it depends on."""
    seen: set[str] = set()
    depends_on = {service.name: service.depends_on for service in wanted}
    for name in in_order(depends_on):
        assert set(depends_on[name]) <= seen
        seen.add(name)
    assert seen == depends_on.keys()


def test_a_thousand_services_in_a_chain_are_ordered() -> None:
    """However long a chain of dependencies is, it has an order; a circle has one too, of a sort."""
    chain = {str(number): [str(number + 1)] for number in range(1000)}
    assert in_order(chain) == [*reversed(chain)]
    assert in_order({"a": ["b"], "b": ["a"]}) == ["b", "a"]
