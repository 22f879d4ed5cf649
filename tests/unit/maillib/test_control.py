"""Records of workers, read by somebody who may be root, in a folder that belongs to the workers' user."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from maillib import control
from maillib.control import Ended, WorkerRecord, WorkerState
from maillib.errors import Transient

NOBODY = 65534


@pytest.fixture
def run(tmp_path: Path) -> Path:
    control.workers_dir(tmp_path, "pop").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def other() -> Iterator[int]:
    """The pid of a process that lives as long as the test."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid


def record(pid: int, **changes: object) -> WorkerRecord:
    about: dict[str, object] = {
        "pid": pid,
        "start_time": control.start_time(pid),
        "service": "pop",
        "generation": 3,
        "state": WorkerState.DRAINING,
        "deadline": 1234.5,
        **changes,
    }
    return WorkerRecord(**about)  # type: ignore[arg-type]


def test_a_record_comes_back_while_its_process_lives(run: Path, other: int) -> None:
    """What a worker wrote about itself is found, and nothing that is about a process that is gone."""
    written = record(other)
    control.write_record(run, written)
    control.write_record(run, record(os.getpid(), start_time=1))
    assert list(control.read_records(run, "pop")) == [written]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[" * 4000,
        "7",
        '{"start_time": 1}',
        '{"start_time": "../1", "generation": 1, "state": "ready", "deadline": null}',
        '{"start_time": 1, "generation": 1, "state": "ready", "deadline": Infinity}',
    ],
)
def test_a_record_that_is_none_is_passed_over(run: Path, content: str) -> None:
    """Half a file, or one that somebody made up, is no record and no error."""
    control.worker_record(run, "pop", os.getpid()).write_text(content)
    control.ended_record(run, "pop", os.getpid()).write_text(content)
    assert list(control.read_records(run, "pop")) == []
    assert control.read_ended(run, "pop", os.getpid()) is None


def test_links_pipes_and_endless_files_cost_nothing(run: Path) -> None:
    """Whoever reads the records is neither led elsewhere nor kept waiting."""
    elsewhere = run / "elsewhere"
    elsewhere.write_text(json.dumps({"finished": 1, "cut": 0}))
    folder = control.workers_dir(run, "pop")
    (folder / "1.json").symlink_to("/dev/zero")
    os.mkfifo(folder / "2.json")
    (folder / "3.json").mkdir()
    control.ended_record(run, "pop", 4).symlink_to(elsewhere)
    os.mkfifo(control.ended_record(run, "pop", 5))
    assert list(control.read_records(run, "pop")) == []
    assert control.read_ended(run, "pop", 4) is control.read_ended(run, "pop", 5) is None
    control.sweep(run, "pop")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file somebody else's")
def test_a_record_speaks_for_processes_of_its_owner_only(run: Path, other: int) -> None:
    """A worker that has dropped to another user cannot have somebody else's process watched, or ended."""
    control.write_record(run, record(other))
    os.chown(control.worker_record(run, "pop", other), NOBODY, NOBODY)
    assert list(control.read_records(run, "pop")) == []


def test_sweep_leaves_what_is_of_use(run: Path, other: int) -> None:
    """Files of processes that are gone go, and outcomes after an hour; the rest stays."""
    control.write_record(run, record(other))
    (control.workers_dir(run, "pop") / "4194304.sock").touch()
    for pid in (1, 2):
        control.write_ended(run, "pop", Ended(pid=pid, finished=1, cut=pid))
    os.utime(control.ended_record(run, "pop", 1), (0, 0))
    control.sweep(run, "pop")
    left = {path.name for path in control.workers_dir(run, "pop").iterdir()}
    assert left == {f"{other}.json", "2.ended"}
    assert control.read_ended(run, "pop", 2) == Ended(pid=2, finished=1, cut=2)


@pytest.mark.parametrize("line", [b"", b"[]", b"no", b"[" * 100_000])
def test_a_message_that_is_none_is_an_error_of_ours(line: bytes) -> None:
    """Whatever comes over a control socket, it is a message or Transient."""
    with pytest.raises(Transient):
        control.decode(line)
