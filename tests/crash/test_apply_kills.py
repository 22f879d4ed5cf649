"""kill -9 of `apply` at random moments: what `status` says then, and what the next apply makes of it."""

import dataclasses
import os
import random
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from maillib.settings.base import Json
from orchestrator import apply, generation, locks, planning, resources
from orchestrator.attempt import Options
from orchestrator.cli import accounts
from orchestrator.errors import Exit
from tests.support.real_suite import LineClient, RealSuite, free_ports

pytestmark = pytest.mark.real

KILLS = int(os.environ.get("POSTROOM_KILLS", "8"))
_SEED = int(os.environ.get("POSTROOM_SEED", "0")) or random.randrange(1, 1 << 32)


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RealSuite]:
    """Whose applies are forked from this process: what a kill can hit is their work, not their imports."""
    made = RealSuite.of_lines(tmp_path)
    programs = dataclasses.replace(resources.programs(), workers=tmp_path / "workers")
    monkeypatch.setattr(resources, "programs", lambda: programs)
    yield made
    made.take_down()


def _begin_apply(suite: RealSuite) -> int:
    """Its pid."""
    child = os.fork()
    if child == 0:
        status = int(Exit.FAILED)
        try:
            apply.apply(*accounts.read(suite.spec_path), Options(ready_s=20.0), lambda line: None)
            status = 0
        finally:
            os._exit(status)
    return child


def _killed_after(suite: RealSuite, delay_s: float) -> bool:
    """Whether an apply was killed before its end."""
    child = _begin_apply(suite)
    time.sleep(delay_s)  # the moment of the kill is what is varied
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


def _services(ports: Mapping[str, int], *, changed: bool) -> dict[str, Json]:
    """From one to the other: a reload, a service that comes or goes, one that has to be stopped and started."""

    def service(name: str, **more: Json) -> dict[str, Json]:
        return {"protocol": "pop", "listen": [{"address": f"127.0.0.1:{ports[name]}"}], **more}

    if changed:
        return {"one": service("one"), "two": service("two", stop={"signal": "INT"})}
    one = service("one", limits={"memory": "400MiB"})
    return {"one": one, "two": service("two"), "three": service("three", depends_on=["one"])}


@pytest.mark.timeout(600)
def test_killed_at_any_moment_it_is_ended_by_the_next(suite: RealSuite) -> None:
    """Each time: the old or the new generation is in force and whole, the lock is free, what `status` calls running
    greets, and the next apply reaches what is wanted, with nothing left to do."""
    chance = random.Random(_SEED)
    print(f"POSTROOM_SEED={_SEED}")
    ports = dict(zip(("one", "two", "three"), free_ports(3), strict=True))
    longest_s, killed = 3.0, 0
    for number in range(KILLS):
        held = generation.current(suite.place.state_dir)
        services = _services(ports, changed=number % 2 == 1)
        suite.write({"services": services})
        if _killed_after(suite, chance.uniform(0.0, longest_s)):
            killed += 1
        _check_status(suite, ports, None if held is None else held.number)
        assert locks.holder(suite.place.state_dir) is None
        before_s = time.monotonic()
        _, result = os.waitpid(_begin_apply(suite), 0)
        assert result == 0, f"the apply after a kill failed: {suite.run('apply')}"
        longest_s = max(0.3, time.monotonic() - before_s)
        suite.ok("status")
        todo, _ = planning.make_plan(*accounts.read(suite.spec_path))
        assert not todo.changes
        for name in services:
            with LineClient(ports[name]) as client:
                assert client.say("hello") == b"+OK hello\r\n"
    assert killed >= KILLS // 2, "kills came after the end"


def _check_status(suite: RealSuite, ports: dict[str, int], before: int | None) -> None:
    status = suite.run("status", "--json").json
    newest = max((one.number for one in generation.every(suite.place.state_dir)), default=None)
    assert status["generation"] in (before, newest)
    for name, row in status["services"].items():
        if row["state"] == "running":
            assert Path(f"/proc/{row['pid']}").exists()
            with socket.create_connection(("127.0.0.1", ports[name]), timeout=20) as client:
                assert client.recv(100) == b"+OK ready\r\n"
