"""From nothing to a message read: the built wheel in an empty folder, with the lines that `make run` prints."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import demo, processes
from orchestrator.cli import accounts
from orchestrator.place import Place
from tests.support.real_suite import LIMIT_S, eventually, free_ports

pytestmark = pytest.mark.real

_PROJECT = Path(__file__).resolve().parents[2]


class Installed:
    """The project as a wheel, unpacked beside nothing of the checkout, and an empty folder to use it in."""

    def __init__(self, scratch: Path) -> None:
        self.site = scratch / "site"
        self.folder = scratch / "mail"
        self.folder.mkdir()
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        wheels = scratch / "wheels"
        self._check(*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(wheels), str(_PROJECT))
        [wheel] = wheels.glob("*.whl")
        self._check(*pip, "install", "--no-deps", "--no-index", "--target", str(self.site), str(wheel))

    def postroom(self, *arguments: str) -> str:
        return self._check(str(self.site / "bin" / "postroom"), *arguments)

    def shell(self, line: str) -> str:
        return self._check("sh", "-c", line)

    def _check(self, *command: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(self.site)}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Installed]:
    made = Installed(tmp_path)
    yield made
    if (made.folder / "services.yaml").exists():
        made.postroom("down", "--drain", "0s")


def test_wheel_works_in_an_empty_folder(installed: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    """init, rehearse and apply are enough; the printed lines send and read mail; a second apply changes nothing."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: the printed lines are made for it")
    installed.postroom("init")
    spec = installed.folder / "services.yaml"
    ports = iter(free_ports(7))
    spec.write_text(re.sub(r"127\.0\.0\.1:\d+", lambda _: f"127.0.0.1:{next(ports)}", spec.read_text()))
    assert "rehearsal passed" in installed.postroom("rehearse")
    installed.postroom("apply")
    installed.postroom("status")
    for process in processes.of_suite(Place(installed.folder / "var")):
        assert not any(word.startswith(f"{_PROJECT}/orchestrator") for word in process.command)

    monkeypatch.chdir(installed.folder)
    suite, declared = accounts.read(Path("services.yaml"))
    send, *reads = [line.strip() for line in demo.lines(suite, declared.declaration).splitlines() if "curl" in line]
    installed.shell(send)
    assert len(reads) == 2
    for read in reads:
        eventually(lambda read=read: _reads(installed, read), "the message can be read")  # type: ignore[misc]
    assert "no change" in installed.postroom("apply")


def _reads(installed: Installed, line: str) -> bool:
    """curl ends with an error while the maildrop is empty."""
    return "It works." in installed.shell(f"{line} || true")
