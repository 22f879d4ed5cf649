"""How much mail waits, by names alone."""

from pathlib import Path

from orchestrator.admin.spooldepth import waiting


def test_envelopes_are_counted_wherever_they_wait(tmp_path: Path) -> None:
    """Incoming, deferred and held ones, and those that a process has claimed; nothing else that lies there."""
    assert waiting(tmp_path) == 0
    for name in (
        "incoming/a.json",
        "incoming/b.json.tmp",
        "active/77/c.json",
        "active/77/d.done",
        "active/77.lock",
        "deferred/e.json",
        "hold/f.json",
        "corrupt/g.json",
        "messages/a.eml",
    ):
        path = tmp_path / "spool" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert waiting(tmp_path) == 4
