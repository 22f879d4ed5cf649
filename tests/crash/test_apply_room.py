"""Applies on disks that are full or take nothing."""

import dataclasses
import os
from collections.abc import Iterator
from errno import ENOSPC
from pathlib import Path

import pytest

from maillib.settings.base import Json
from orchestrator import apply, generation, resources
from orchestrator.attempt import Options
from orchestrator.cli import accounts
from orchestrator.errors import ApplyFailed, PreflightFailed
from tests.support.real_suite import LineClient, RealSuite, free_ports
from tests.support.small_disk import SmallDisk, read_only, small_disk

pytestmark = pytest.mark.real


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", size="64m") as made:
        yield made


def _spec(port: int, **more: Json) -> dict[str, Json]:
    return {"services": {"one": {"protocol": "pop", "listen": [{"address": f"127.0.0.1:{port}"}], **more}}}


def test_nothing_changes_where_nothing_can_be_written(disk: SmallDisk) -> None:
    """Full, without inodes, or read-only: 73, a line for each reason, all goes on as it was; with room it works."""
    suite = RealSuite.of_lines(disk.folder)
    try:
        [one] = free_ports(1)
        suite.write(_spec(one))
        suite.ok("apply")
        suite.write(_spec(one, limits={"memory": "400MiB"}))
        state = (suite.pids(), suite.generation(), _generations(suite))

        def refused() -> None:
            done = suite.run("apply")
            assert done.code == 73, done
            assert all(line.startswith("postroom: ") for line in done.err.splitlines())
            assert (suite.pids(), suite.generation(), _generations(suite)) == state
            with LineClient(one) as client:
                assert client.say("hello") == b"+OK hello\r\n"

        disk.fill()
        refused()
        stop = suite.run("stop", "one")
        ledger = suite.place.state_dir / "holds.json.tmp"
        assert (stop.code, stop.err) == (1, f"postroom: {ledger}: {os.strerror(ENOSPC)}\n")
        disk.free()
        disk.fill_inodes()
        refused()
        disk.free()
        with read_only(suite.place.state_dir):
            refused()
        suite.ok("apply")
        assert suite.generation() == 2
    finally:
        disk.free()
        suite.take_down()


@pytest.mark.parametrize("moment", ["plan", "one: reload"])
def test_disk_that_fills_up_meanwhile(disk: SmallDisk, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the switch nothing changes; during it, it comes to its end or goes back. The service serves throughout,
    and with room all is well again.
    """
    suite = RealSuite.of_lines(disk.folder)
    programs = dataclasses.replace(resources.programs(), workers=disk.folder / "workers")
    monkeypatch.setattr(resources, "programs", lambda: programs)
    try:
        [one] = free_ports(1)
        suite.write(_spec(one))
        suite.ok("apply")
        pids = suite.pids()
        suite.write(_spec(one, processes=2))

        def fill(step: str) -> None:
            if step == moment:
                disk.fill()

        held = 1
        try:
            held = apply.apply(*accounts.read(suite.spec_path), Options(), lambda line: None, doing=fill).generation
        except (PreflightFailed, ApplyFailed):
            pass
        assert held == 1 or moment != "plan"
        assert (suite.pids(), suite.generation()) == (pids, held)
        with LineClient(one) as client:
            assert client.say("hello") == b"+OK hello\r\n"
        disk.free()
        suite.ok("apply")
        suite.ok("status")
    finally:
        disk.free()
        suite.take_down()


def _generations(suite: RealSuite) -> list[str]:
    return sorted(path.name for path in generation.folder(suite.place.state_dir).iterdir())


@pytest.mark.parametrize("leaving", [0, 4096, 40 * 1024])
def test_generation_that_does_not_fit_leaves_nothing(disk: SmallDisk, leaving: int) -> None:
    """However much of it could be written."""
    disk.fill(leaving=leaving)
    before = sorted(disk.folder.rglob("*"))
    files = {f"services/{number}.json": "x" * 4096 for number in range(20)}
    with pytest.raises(OSError, match="No space left"):
        generation.write(disk.folder, 1, files)
    left = [path for path in sorted(disk.folder.rglob("*")) if path not in before]
    assert left in ([], [generation.folder(disk.folder)])
