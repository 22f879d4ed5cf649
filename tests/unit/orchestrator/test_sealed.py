"""Sealed plans: what makes one stale, who is named for it, and that nothing but what was sealed is read."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from maillib.errors import Conflict
from maillib.settings.base import Json
from orchestrator import audit, sealed
from orchestrator.admin.ownership import AccountAction, FieldChange, Named, Verb
from orchestrator.audit import Entry
from orchestrator.errors import BadPlan, PlanStale
from orchestrator.facts import Live, Wanted, World
from orchestrator.plan import Plan, as_json, plan
from orchestrator.sealed import Sealed, Source, Terms

_SERVICE: dict[str, Json] = {
    "protocol": "pop",
    "hostname": "mail.example.test",
    "listen": [{"host": "127.0.0.1", "port": 2110}],
    "limits": {"connections": 500},
    "stop": {"drain": 60.0},
    "tls": None,
}

_LIVE = Live(
    name="pop",
    state="running",
    loaded=True,
    serving=True,
    supervised=True,
    digest="1",
    code="code",
    service=_SERVICE,
    listening=("127.0.0.1:2110",),
    room=896,
    section={"stopsignal": "TERM"},
    enabled=True,
    depends_on=(),
    sessions=0,
    hold=None,
)

_WORLD = World(base=7, services={"pop": _LIVE}, code="code", agent="running", supervised=True)


def _todo(world: World) -> Plan:
    wanted: dict[str, Json] = {**_SERVICE, "limits": {"connections": 400}}
    section = {"stopsignal": "TERM"}
    return plan([Wanted(name="pop", enabled=True, depends_on=(), service=wanted, digest="2", section=section)], world)


def _sealed(state_dir: Path) -> Sealed:
    terms = Terms(
        spec=Source(path="/etc/services.yaml", text="version: 1\n"),
        accounts=None,
        state_dir=str(state_dir),
        override="respect",
        prune=False,
        made_at="2026-01-01T00:00:00.000+00:00",
    )
    return Sealed(terms=terms, observed=sealed.facts(_WORLD), plan=as_json(_todo(_WORLD)))


def _changed(**changes: Any) -> World:
    return dataclasses.replace(_WORLD, services={"pop": dataclasses.replace(_LIVE, **changes)})


@pytest.mark.parametrize(
    ("world", "moved"),
    [
        (dataclasses.replace(_WORLD, base=8), [("/generation", 7, 8)]),
        (dataclasses.replace(_WORLD, supervised=False), [("/supervisord", True, False)]),
        (dataclasses.replace(_WORLD, code="newer"), [("/program", "code", "newer")]),
        (
            _changed(service={**_SERVICE, "limits": {"connections": 450}}),
            [("/services/pop/limits/connections", 500, 450)],
        ),
        (_changed(service={**_SERVICE, "hostname": "new.test"}), [("/hostname", "mail.example.test", "new.test")]),
        (_changed(section={"stopsignal": "INT"}), [("/supervisord/program:pop/stopsignal", "TERM", "INT")]),
        (_changed(state="failed"), [("/services/pop/state", "running", "failed")]),
        (_changed(hold="alice, today"), [("/services/pop/hold", None, "alice, today")]),
        (_changed(listening=()), [("/services/pop/let_go", [], ["127.0.0.1:2110"])]),
        (dataclasses.replace(_WORLD, services={}), [("/services/pop", sealed.facts(_WORLD)["services"]["pop"], None)]),  # type: ignore[index,call-overload]
    ],
)
def test_what_moved_is_named_with_both_values(
    world: World, moved: list[tuple[str, Json, Json]], tmp_path: Path
) -> None:
    """Each fact that a plan follows from makes it stale when it is another; settings by their names in the spec."""
    with pytest.raises(PlanStale) as stale:
        _sealed(tmp_path).refuse_if_stale(_todo(world), world)
    rows = [one.as_json() for one in stale.value.moved]
    assert [(row["path"], row["before"], row["after"]) for row in rows] == moved
    assert {row["by"] for row in rows} == {None}


@pytest.mark.parametrize(
    "world",
    [
        _changed(sessions=12),
        dataclasses.replace(_WORLD, waiting=9),
        dataclasses.replace(_WORLD, agent="starting"),
    ],
)
def test_what_changes_by_itself_makes_nothing_stale(world: World, tmp_path: Path) -> None:
    """Sessions come and go, mail is queued, the agent gets ready: none of it changes what is done."""
    _sealed(tmp_path).refuse_if_stale(_todo(world), world)


def test_nothing_else_is_done_than_was_sealed(tmp_path: Path) -> None:
    """Where the same facts as far as they last lead to another action now, that is named."""
    world = _changed(state="starting")
    with pytest.raises(PlanStale, match="/plan/pop/action"):
        _sealed(tmp_path).refuse_if_stale(_todo(world), world)


def test_an_account_that_moved_is_named_with_the_field(tmp_path: Path) -> None:
    """A secret that is another one now makes a plan stale, and what is told is the account and its password."""
    audit.record(tmp_path, Entry(verb="account set", names=("alice@a.test",), who="bob", when=1_790_000_000))
    changes = (FieldChange("password", None, "5e1f"),)
    alice = AccountAction(verb=Verb.SET, object=Named("account", "alice@a.test"), changes=changes, reason="declared")
    todo = dataclasses.replace(_todo(_WORLD), accounts=(alice,))
    with pytest.raises(PlanStale) as stale:
        _sealed(tmp_path).refuse_if_stale(todo, _WORLD)
    rows = [one.as_json() for one in stale.value.moved]
    assert [(row["path"], row["after"], row["by"]) for row in rows] == [
        ("/accounts/account alice@a.test", "set", "bob"),
        ("/accounts/account alice@a.test/password", {"before": None, "after": "5e1f"}, "bob"),
    ]


def test_who_moved_it_last_is_named(tmp_path: Path) -> None:
    """The audit says who: of one service those who did something to it, of the generation those who applied."""
    for entry in (
        Entry(verb="apply", names=("pop",), who="alice", when=1_790_000_000),
        Entry(verb="stop", names=("pop",), who="bob", when=1_790_000_001),
        Entry(verb="stop", names=("imap",), who="carol", when=1_790_000_002),
    ):
        audit.record(tmp_path, entry)
    world = dataclasses.replace(_changed(serving=False, state="stopped"), base=8)
    with pytest.raises(PlanStale) as stale:
        _sealed(tmp_path).refuse_if_stale(_todo(world), world)
    by = {row["path"]: (row["verb"], row["by"]) for row in (one.as_json() for one in stale.value.moved)}
    assert by == {"/generation": ("apply", "alice"), "/services/pop/state": ("stop", "bob")}
    assert "/generation: 7 -> 8 (apply by alice, 2026-09-21T" in str(stale.value)


def test_a_file_gives_back_what_was_sealed(tmp_path: Path) -> None:
    """Written and read it is the same, readable for the group alone, and nothing is left beside it."""
    file = tmp_path / "plan"
    sealed.write(file, _sealed(tmp_path))
    assert sealed.read(file) == _sealed(tmp_path)
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["plan"]


def test_only_a_plain_file_is_replaced(tmp_path: Path) -> None:
    """`-o /dev/stdout` as root would make a file of it, and a link would be gone."""
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (link, fifo, tmp_path):
        with pytest.raises(Conflict):
            sealed.write(path, _sealed(tmp_path))
    assert link.is_symlink() and fifo.is_fifo()


def test_every_octet_is_under_the_seal(tmp_path: Path) -> None:
    """Whatever is cut off or altered, the file is refused."""
    file = tmp_path / "plan"
    sealed.write(file, _sealed(tmp_path))
    text = file.read_bytes().rstrip()
    for cut in range(0, len(text), 97):
        file.write_bytes(text[:cut])
        with pytest.raises(BadPlan):
            sealed.read(file)
    for at in range(0, len(text), 41):
        altered = text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]
        file.write_bytes(altered)
        with pytest.raises(BadPlan):
            sealed.read(file)
