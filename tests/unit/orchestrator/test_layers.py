"""From everything that was seen to what differs, layer by layer."""

from collections.abc import Mapping
from typing import Any

import pytest

from maillib.settings.base import Json
from orchestrator.admin.ownership import AccountAction, Named, Verb
from orchestrator.facts import Wanted
from orchestrator.holds import by_hand
from orchestrator.layers import Facts, Item, Layer, compare
from orchestrator.observation import Master, Observation, Seen, Supervisord, Worker
from orchestrator.processes import Process
from orchestrator.supervisor import Changes, Program, ProgramState

NOW = 1_000_000.0
COMMAND = ("python", "pop.py", "--config", "pop.json")
AGENT_COMMAND = ("python", "agent.py", "--state-dir", "var")
SERVICE: Mapping[str, Json] = {
    "name": "pop",
    "limits": {"connections": 5},
    "listen": [{"host": "127.0.0.1", "port": 2110}],
}


def _program(name: str, pid: int | None, state: ProgramState = ProgramState.RUNNING) -> Program:
    return Program(name=name, state=state, pid=pid, since=NOW - 60, ended=0.0, exit_status=0, trouble="")


def _worker(pid: int = 3, **more: Any) -> Worker:
    return Worker(**{"pid": pid, "generation": 1, "state": "ready", "sessions": 0, "deadline": None, **more})


def _master(**more: Any) -> Master:
    fields: dict[str, Any] = {
        "pid": 2,
        "version": "1",
        "code": "code",
        "generation": 1,
        "digest": "digest",
        "certificate": "leaf",
        "started": NOW - 60,
        "state": "running",
        "workers": (_worker(),),
        "last_error": None,
        "listening": ("127.0.0.1:2110",),
        **more,
    }
    return Master(**fields)


def _seen(**more: Any) -> Seen:
    return Seen(**{"program": _program("pop", 2), "master": _master(), **more})


def _observation(**more: Any) -> Observation:
    return Observation(
        **{
            "supervisord": Supervisord.RUNNING,
            "agent": _program("agent", 1),
            "services": {"pop": _seen()},
            "unmanaged": {},
            **more,
        }
    )


def _process(pid: int, command: tuple[str, ...], parent: int = 9) -> Process:
    return Process(pid=pid, started=0, parent=parent, command=command)


def _facts(**more: Any) -> Facts:
    """All as it should be, but for `more`."""
    wanted = Wanted(
        name="pop",
        enabled=True,
        depends_on=(),
        service=SERVICE,
        digest="digest",
        section={"command": " ".join(COMMAND)},
    )
    fields: dict[str, Any] = {
        "generation": 1,
        "wanted": (wanted,),
        "observation": _observation(),
        "now": NOW,
        "monotonic": 500.0,
        "sections": ("supervisord", "eventlistener:agent", "program:pop"),
        "agent_command": AGENT_COMMAND,
        "loaded": Changes(frozenset(), frozenset(), frozenset()),
        "supervisord_pid": 9,
        "processes": {
            1: _process(1, AGENT_COMMAND),
            2: _process(2, COMMAND),
            3: _process(3, ("python", "pop.py"), parent=2),
            9: _process(9, ("python", "supervisord"), parent=0),
        },
        "code": "code",
        "agent_code": ("agent code", "agent code"),
        "certificates": {"pop": "leaf"},
        **more,
    }
    return Facts(**fields)


def _only(facts: Facts) -> Item:
    items = [*compare(facts)]
    assert len(items) == 1, list(map(str, items))
    assert items[0].mend
    return items[0]


def test_nothing_differs() -> None:
    """Where all is as the generation has it, there is no item."""
    assert list(compare(_facts())) == []


@pytest.mark.parametrize(
    ("facts", "layer", "service", "path"),
    [
        (_facts(damage={"spec.yaml": "was changed"}), Layer.FILES, None, "generations/000001/spec.yaml"),
        (_facts(broken_off=True), Layer.FILES, None, "generations"),
        (_facts(loaded="supervisord refuses: no command"), Layer.LOADED, None, "supervisord.conf"),
        (
            _facts(loaded=Changes(frozenset(), frozenset({"pop"}), frozenset())),
            Layer.LOADED,
            "pop",
            "/supervisord/program:pop",
        ),
        (
            _facts(processes={**_facts().processes, 2: _process(2, ("python", "old.py"))}),
            Layer.ACTIVE,
            "pop",
            "/command",
        ),
        (
            _facts(
                observation=_observation(services={"pop": _seen(master=_master(digest="other"))}),
                running={"pop": {**SERVICE, "limits": {"connections": 4}}},
            ),
            Layer.REPORTED,
            "pop",
            "/limits/connections",
        ),
        (
            _facts(observation=_observation(services={"pop": _seen(master=_master(digest="other"))})),
            Layer.REPORTED,
            "pop",
            "/digest",
        ),
        (_facts(code="new code"), Layer.REPORTED, "pop", "/program"),
        (_facts(agent_code=("old", "new")), Layer.REPORTED, "agent", "/program"),
        (_facts(certificates={"pop": "renewed"}), Layer.REPORTED, "pop", "/tls/certificate"),
        (
            _facts(observation=_observation(services={"pop": _seen(master=_master(workers=(_worker(generation=7),)))})),
            Layer.REPORTED,
            "pop",
            "/workers/3/generation",
        ),
        (
            _facts(observation=_observation(services={"pop": _seen(master=_master(listening=()))})),
            Layer.REPORTED,
            "pop",
            "/listening/127.0.0.1:2110",
        ),
        (_facts(observation=_observation(agent=None)), Layer.RUN_STATE, "agent", "/state"),
        (
            _facts(
                observation=_observation(
                    services={
                        "pop": Seen(program=_program("pop", None, ProgramState.STOPPED), hold=by_hand(NOW)),
                    }
                ),
                processes={},
            ),
            Layer.RUN_STATE,
            "pop",
            "/state",
        ),
        (
            _facts(
                observation=_observation(
                    services={"pop": _seen(), "old": Seen(program=_program("old", None, ProgramState.STOPPED))}
                )
            ),
            Layer.RUN_STATE,
            "old",
            "/state",
        ),
        (
            _facts(observation=_observation(unmanaged={"web": _program("web", 77)})),
            Layer.UNMANAGED,
            "web",
            "/program",
        ),
        (_facts(sections=("supervisord", "include")), Layer.UNMANAGED, None, "supervisord.conf [include]"),
        (
            _facts(processes={**_facts().processes, 50: _process(50, COMMAND, parent=7777)}),
            Layer.STRAY,
            None,
            "process 50",
        ),
        (
            _facts(
                observation=_observation(
                    services={"pop": _seen(others=(_worker(60, state="draining", deadline=500.0 - 60),))}
                )
            ),
            Layer.STRAY,
            "pop",
            "process 60",
        ),
        (
            _facts(observation=_observation(services={"pop": _seen(others=(_worker(60),))})),
            Layer.STRAY,
            "pop",
            "process 60",
        ),
        (_facts(accounts="the directory is damaged"), Layer.ACCOUNTS, None, "directory"),
        (
            _facts(
                accounts=(AccountAction(verb=Verb.ADD, object=Named("alias", "sales@example.test"), reason="declared"),)
            ),
            Layer.ACCOUNTS,
            None,
            "alias sales@example.test",
        ),
    ],
)
def test_each_layer_names_its_difference(facts: Facts, layer: Layer, service: str | None, path: str) -> None:
    """One thing that is otherwise is one item, in its layer, with the service and what of it, and a way to mend it."""
    item = _only(facts)
    assert (item.layer, item.service, item.path) == (layer, service, path)


def test_a_drainer_in_time_is_none() -> None:
    """Sessions that finish after a stop are no drift."""
    finishing = _worker(60, state="draining", sessions=1, deadline=600.0)
    facts = _facts(
        observation=_observation(services={"pop": _seen(others=(finishing,))}),
        processes={**_facts().processes, 60: _process(60, COMMAND, parent=7777)},
    )
    assert list(compare(facts)) == []


def test_a_silent_master_has_its_workers() -> None:
    """Workers whose master lives and does not answer are not without one: only the run state differs."""
    silent = Seen(program=_program("pop", 2), others=(_worker(),))
    assert _only(_facts(observation=_observation(services={"pop": silent}))).layer is Layer.RUN_STATE


def test_without_supervisord_what_lives_is_an_orphan() -> None:
    """A master that serves on is told with its service, and that supervisord is gone."""
    orphan = Seen(master=_master())
    seen = _observation(supervisord=Supervisord.SILENT, agent=None, services={"pop": orphan})
    items = [*compare(_facts(observation=seen, loaded=None, supervisord_pid=None, agent_code=(None, "new")))]
    assert {(item.layer, item.service) for item in items} >= {(Layer.RUN_STATE, "supervisord"), (Layer.STRAY, "pop")}


def test_a_damaged_generation_says_nothing_of_its_services() -> None:
    """Where nobody can tell what should run, only what is damaged is named."""
    assert _only(_facts(wanted=None, damage={"resolved.json": "is missing"})).layer is Layer.FILES


def test_an_item_for_people_and_for_machines() -> None:
    """The line has layer, service, both values and the way out; the object has a key for each."""
    item = _only(_facts(code="new"))
    assert str(item) == "reported: pop /program: code (expected: new); `postroom apply` restarts it"
    assert item.as_json() == {
        "layer": "reported",
        "service": "pop",
        "path": "/program",
        "expected": "new",
        "found": "code",
        "mend": "`postroom apply` restarts it",
    }
