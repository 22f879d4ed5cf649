"""A plan in words."""

import dataclasses

import pytest

from maillib.settings.base import Json
from orchestrator import plantext
from orchestrator.admin.ownership import AccountAction, Named
from orchestrator.admin.ownership import Verb as Change
from orchestrator.facts import Live, Wanted, World
from orchestrator.plan import plan

_SECTION = {"command": "python pop.py"}


def _service(port: int = 2110, processes: int = 1, drain_s: float = 90.0) -> dict[str, Json]:
    return {
        "protocol": "pop",
        "processes": processes,
        "listen": [{"host": "127.0.0.1", "port": port}],
        "stop": {"drain": drain_s},
    }


def _wanted(name: str, service: dict[str, Json], digest: str = "new") -> Wanted:
    return Wanted(name=name, enabled=True, depends_on=(), service=service, digest=digest, section=_SECTION)


def _live(name: str, service: dict[str, Json], sessions: int = 0) -> Live:
    return Live(
        name=name,
        state="running",
        loaded=True,
        serving=True,
        supervised=True,
        digest="old",
        code="code",
        service=service,
        section=_SECTION,
        enabled=True,
        depends_on=(),
        sessions=sessions,
        hold=None,
    )


def _world(*services: Live) -> World:
    return World(
        base=1, services={one.name: one for one in services}, code="code", agent="running", supervised=True, waiting=3
    )


@pytest.mark.parametrize(
    ("drain_s", "sessions", "line"),
    [
        (90.0, 12, "pop  reload   12 sessions kept, no connection refused\n       drain limit 90s"),
        (90.0, 1, "pop  reload   1 session kept, no connection refused\n       drain limit 90s"),
        (90.0, 0, "pop  reload   no sessions, no connection refused\n       /services"),
        (0.0, 12, "pop  reload   0 of 12 sessions kept, no connection refused\n       drain limit 0s"),
    ],
)
def test_the_cost_is_told_in_sessions(drain_s: float, sessions: int, line: str) -> None:
    """How many there are, how many may end by themselves and in which time, and whether anybody is refused."""
    live = _live("pop", _service(drain_s=drain_s), sessions)
    todo = plan([_wanted("pop", _service(processes=2, drain_s=drain_s))], _world(live))
    assert plantext.text(todo).startswith(line)


def test_each_action_says_what_it_does_besides() -> None:
    """An exchange of ports, a service that goes, one that comes, and those that nobody touches."""
    quiet = [_live(f"quiet{number}", _service(3000 + number)) for number in range(9)]
    same = [_wanted(live.name, dict(live.service), "old") for live in quiet]
    spool: dict[str, Json] = {"protocol": "spool", "listen": [], "stop": {"drain": 60.0}}
    world = _world(_live("a", _service(1), 2), _live("b", _service(2)), _live("gone", _service(4)), *quiet)
    wanted = [_wanted("a", _service(2)), _wanted("b", _service(1)), _wanted("spool", spool), *same]
    assert plantext.text(plan(wanted, dataclasses.replace(world, supervised=False))) == (
        "supervisord  start\n"
        "gone   remove   no sessions, new connections refused\n"
        "         listens no more on 127.0.0.1:4\n"
        "         mail and queue stay\n"
        '         /services/gone: {"protocol": "pop"} -> null\n'
        "b      reload   no sessions, no connection refused\n"
        "         listens on 127.0.0.1:1\n"
        "         listens no more on 127.0.0.1:2\n"
        "         a lets 127.0.0.1:1 go before\n"
        "         /services/b/listen/0/port: 2 -> 1\n"
        "a      reload   2 sessions kept, new connections refused for a moment\n"
        "         listens on 127.0.0.1:2\n"
        "         listens no more on 127.0.0.1:1\n"
        "         /services/a/listen/0/port: 1 -> 2\n"
        "spool  add      no sessions, no connection refused\n"
        "         3 messages wait in the queue\n"
        '         /services/spool: null -> {"protocol": "spool"}\n'
        "unchanged: 9 services"
    )


def test_nothing_to_do_is_said() -> None:
    """The words that scripts look for."""
    todo = plan([_wanted("pop", _service(), "old")], _world(_live("pop", _service())))
    assert plantext.text(todo) == "unchanged: pop\nno change"


def test_many_accounts_that_stay() -> None:
    """Accounts that change are named each; of many that stay as they are only the number is told."""
    kept = [
        AccountAction(verb=Change.KEEP, object=Named("account", f"{number}@a.test"), reason="r") for number in range(9)
    ]
    made = AccountAction(verb=Change.ADD, object=Named("domain", "a.test"), reason="new in the declaration")
    todo = plan([], _world(), accounts=[*kept, made])
    assert plantext.accounts(todo) == [
        "add domain a.test (new in the declaration)",
        "keep 9 objects as they are, from now on as they are declared",
    ]
    assert plantext.accounts(plan([], _world(), accounts=kept[:1])) == ["keep account 0@a.test (r)"]
