"""What is done once a process has ended, however it ends."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import sys, time
from pathlib import Path
from orchestrator.rehearse.afterwards import Afterwards, CleanUpFailed

folder = Path(sys.argv[1])

def clean(word):
    if word == "fail":
        raise ValueError("it is stuck")
    (folder / "cleaned.tmp").write_text(word)
    (folder / "cleaned.tmp").rename(folder / "cleaned")

try:
    with Afterwards(clean) as afterwards:
        print("in", flush=True)
        {block}
    print((folder / "cleaned").read_text())
except CleanUpFailed as error:
    print(error)
"""


def start(folder: Path, block: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", PROGRAM.format(block=block), str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_it_is_done_at_the_end_of_the_block(tmp_path: Path) -> None:
    """Before the block is left, and with the word that was given last."""
    out, _ = start(tmp_path, "afterwards.word = 'all'").communicate(timeout=30)
    assert out == "in\nall\n"


def test_what_goes_wrong_is_told(tmp_path: Path) -> None:
    """An error in the other process is one here."""
    out, _ = start(tmp_path, "afterwards.word = 'fail'").communicate(timeout=30)
    assert out == "in\nnot everything could be cleaned up: ValueError: it is stuck\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_is_done_when_the_process_is_killed(number: signal.Signals, tmp_path: Path) -> None:
    """Also by kill -9. Nobody who reads the process's output has to wait for it."""
    process = start(tmp_path, "time.sleep(60)")
    assert process.stdout is not None and process.stdout.readline() == "in\n"
    process.send_signal(number)
    assert process.stdout.read() == ""
    process.stdout.close()
    process.wait(timeout=30)
    wait_for(tmp_path / "cleaned")
    assert (tmp_path / "cleaned").read_text() == ""


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
