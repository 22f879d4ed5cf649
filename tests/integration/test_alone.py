"""A worker run by hand: no supervisord, no apply, only `postroom config --resolved --service`."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.real_suite import LIMIT_S, RealSuite, free_ports

WORKERS = Path(__file__).resolve().parents[2] / "workers"


@pytest.mark.parametrize("name", ["smtp", "spool", "imap", "pop"])
def test_a_worker_runs_alone_from_the_printed_file(tmp_path: Path, name: str) -> None:
    """In an empty folder `init` and `config` are enough; it says that it is ready, and Ctrl-C drains and ends it."""
    suite = RealSuite(tmp_path)
    subprocess.run([*suite.command, "init"], cwd=tmp_path, check=True, capture_output=True, timeout=LIMIT_S)
    ports = iter(free_ports(7))
    spec = suite.spec_path.read_text()
    suite.spec_path.write_text(re.sub(r"127\.0\.0\.1:\d+", lambda _: f"127.0.0.1:{next(ports)}", spec))
    file = tmp_path / "service.json"
    file.write_text(suite.ok("config", "--resolved", "--service", name).out)
    command = [sys.executable, str(WORKERS / f"{name}.py"), "--config", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline().startswith(f"{name}: ready")
        program.send_signal(signal.SIGINT)
        assert program.wait(LIMIT_S) == 0
    suite.take_down()  # the folder of sockets, which is in /tmp where paths are long
