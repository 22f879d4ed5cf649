"""Power cuts at every moment of a recorded run: what each may leave is made, and a spool is started on it.

`POWER_CUTS=1 pytest tests/crash/test_power_cut.py` tries all of the about ten thousand states, in some minutes.
"""

import os
import shutil
from pathlib import Path

import pytest

from tests.support.disk.needed import strace_or_skip
from tests.support.disk.recording import record
from tests.support.disk.states import crash_states, problems

pytestmark = [pytest.mark.real, pytest.mark.timeout(3600)]

SHARE = float(os.environ.get("POWER_CUTS", "0.025"))
"""Of the states, how many are tried."""


def test_whatever_a_power_cut_leaves(tmp_path: Path) -> None:
    """Each acknowledged message is delivered once, none in part, nothing is damaged, and a start gets to its end."""
    strace_or_skip()
    run = tmp_path / "run"
    run.mkdir()
    made = record(run)
    states, count = crash_states(made, share=SHARE, seed=1)
    assert len(states) > SHARE * count / 2
    for number, state in enumerate(states):
        state_dir = tmp_path / str(number)
        state_dir.mkdir()
        assert problems(state, made.sent, state_dir) == []
        shutil.rmtree(state_dir)
