"""What a verb loads at its start: time that everybody waits for who types it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.real_suite import free_ports

_STORE = {"argon2", "asyncio", "maillib.embedded", "sqlite3"}
_MAKING = {"cryptography", "jinja2", "supervisor"}
_RUN = """\
import sys
from orchestrator.cli import main
code = main()
print(code, *sys.modules, sep="\\n")
"""


@pytest.mark.parametrize(
    ("verb", "needless"),
    [("validate", {*_STORE, *_MAKING, "rich", "ssl"}), ("status", {*_STORE, *_MAKING, "rich"})],
)
def test_verbs_load_what_they_need(tmp_path: Path, verb: str, needless: set[str]) -> None:
    """Neither the store nor what makes certificates and files is loaded to read a spec or to see what runs."""
    (tmp_path / "services.yaml").write_text(
        "version: 1\nhostname: mail.example.test\nservices:\n"
        f'  pop: {{protocol: pop, listen: [{{address: "127.0.0.1:{free_ports(1)[0]}"}}]}}\n'
    )
    command = [sys.executable, "-c", _RUN, "-f", str(tmp_path / "services.yaml"), verb]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    _, *loaded = done.stdout.splitlines()
    assert needless & set(loaded) == set()
