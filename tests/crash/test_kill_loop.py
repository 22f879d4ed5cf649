"""SIGKILL of every process there is, in traffic: the short run of `python -m tests.support.kill_loop`."""

from pathlib import Path

import pytest

from tests.support.kill_loop import KillLoop

pytestmark = pytest.mark.real

KINDS = {
    "supervisord",
    "agent",
    *(f"{name} {part}" for name in ("smtp", "spool", "pop") for part in ("master", "worker")),
}


def test_every_process_is_killed_in_traffic(tmp_path: Path) -> None:
    """No 250 is lost or doubled, whoever is killed when; afterwards everything runs as wanted."""
    result = KillLoop(tmp_path, kills=18, sends=200, accounts=10, seed=1).run()
    assert result.is_clean, "\n".join(result.lines())
    assert set(result.kills) == KINDS | {"smtp disk"}
    assert result.acknowledged >= 200
