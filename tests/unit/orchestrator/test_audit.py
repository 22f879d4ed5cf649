"""The audit trail on disk: whole lines, in order, bounded, also after a writer that was killed."""

import json
import multiprocessing
import stat
from pathlib import Path

import pytest

from orchestrator import audit
from orchestrator.audit import Entry


def test_what_was_recorded_can_be_asked_for(tmp_path: Path) -> None:
    """All fields come back, the time to the millisecond; nobody but owner and group reads the file."""
    entry = Entry(
        verb="stop", names=("pop", "smtp"), who="alice", origin="192.0.2.7", reason="a\nnew disk", before=1, when=5.25
    )
    audit.record(tmp_path, entry)
    assert audit.since(tmp_path, 0.0) == [entry]
    assert audit.since(tmp_path, 5.25) == []
    path = tmp_path / "log" / "audit.log"
    assert stat.S_IMODE(path.stat().st_mode) & 0o027 == 0
    assert json.loads(path.read_text())["when"] == "1970-01-01T00:00:05.250Z"


def test_only_acts_on_these_names(tmp_path: Path) -> None:
    """`names` chooses those that were done to one of them."""
    for name in ("pop", "smtp"):
        audit.record(tmp_path, Entry(verb="stop", names=(name,)))
    assert [entry.names for entry in audit.since(tmp_path, 0.0, names=["smtp"])] == [("smtp",)]


def test_who_and_where_are_told_when_nobody_says(tmp_path: Path) -> None:
    """An act has the user and the place of its process."""
    audit.record(tmp_path, Entry(verb="apply"))
    [entry] = audit.since(tmp_path, 0.0)
    assert entry.who == audit.user() and entry.origin == audit.origin()
    assert entry.result == audit.DONE


def test_sudo_names_who_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind sudo it is not root alone that did it."""
    monkeypatch.setattr("os.getuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "alice")
    assert audit.user() == "alice as root"


def test_line_of_a_killed_writer_is_passed_over(tmp_path: Path) -> None:
    """What was cut short is nobody's act, and the next line is whole."""
    audit.record(tmp_path, Entry(verb="stop"))
    with (tmp_path / "log" / "audit.log").open("a") as file:
        file.write('{"when": "2026-')
    audit.record(tmp_path, Entry(verb="start"))
    assert [entry.verb for entry in audit.since(tmp_path, 0.0)] == ["stop", "start"]


def test_full_files_are_moved_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trail is bounded; what is kept is found across the files, in order."""
    monkeypatch.setattr(audit, "KEEP_OCTETS", 400)
    for number in range(100):
        audit.record(tmp_path, Entry(verb=str(number), when=float(number + 1)))
    verbs = [int(entry.verb) for entry in audit.since(tmp_path, 0.0)]
    assert verbs == list(range(100 - len(verbs), 100)) and len(verbs) > 5
    assert len(list((tmp_path / "log").iterdir())) == 5
    assert [entry.verb for entry in audit.since(tmp_path, 95.0)] == ["95", "96", "97", "98", "99"]


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each act of several processes is there once, whole, though files are moved away meanwhile."""
    monkeypatch.setattr(audit, "KEEP_OCTETS", 20_000)
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=_write, args=(tmp_path, number)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    found = [entry.verb for entry in audit.since(tmp_path, 0.0)]
    assert sorted(found) == sorted(f"{number}-{one}" for number in range(3) for one in range(100))


def _write(state_dir: Path, number: int) -> None:
    for one in range(100):
        audit.record(state_dir, Entry(verb=f"{number}-{one}", reason="x" * 50))
