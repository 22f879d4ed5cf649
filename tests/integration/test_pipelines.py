"""The pipelines of docs/ci, command by command, on a real suite: from nothing, with a change, with drift."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs
from xml.etree import ElementTree

import pytest

from maillib.settings.base import Json
from tests.support.pipelines import Forge, GitHub, GitLab, commit
from tests.support.real_suite import RealSuite, free_ports

pytestmark = pytest.mark.real

SECRET = "correct-horse-battery"

ACCOUNTS = """
version: 1
domains:
  example.test:
    users:
      alice: {name: Alice, password: {file: %s}}
"""


class Host:
    """A mail host and the repository of its spec, which is all that its pipelines change."""

    def __init__(self, folder: Path) -> None:
        self.suite = RealSuite(folder / "host")
        self.suite.folder.mkdir()
        self.secret = self.suite.folder / "alice"
        self.secret.write_text(SECRET + "\n")
        self.ports = free_ports(2)
        self.repository = folder / "repository"
        self.change(connections=100)
        self.forge = Forge(folder / "forge", self.repository)

    def change(self, *, connections: int) -> None:
        """Commit another limit; the host's own folder gets the same files, for looking at it."""
        limits: Json = {"connections": connections}
        mx, pop = self.ports
        self.suite.write(
            {
                "state_dir": str(self.suite.place.state_dir),
                "accounts": "accounts.yaml",
                "services": {
                    "smtp": {"protocol": "smtp", "listen": [{"address": f"127.0.0.1:{mx}", "role": "mx"}]},
                    "spool": {"protocol": "spool"},
                    "pop": {"protocol": "pop", "limits": limits, "listen": [{"address": f"127.0.0.1:{pop}"}]},
                },
            }
        )
        files = {"services.yaml": self.suite.spec_path.read_text(), "accounts.yaml": ACCOUNTS % self.secret}
        (self.suite.folder / "accounts.yaml").write_text(files["accounts.yaml"])
        commit(self.repository, files, f"pop: {connections} connections")

    @property
    def connections(self) -> int:
        """What the running service was told."""
        text = (self.suite.place.state_dir / "generations" / "current" / "services" / "pop.json").read_text()
        return int(json.loads(text)["service"]["limits"]["connections"])


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.suite.take_down()


def check_reports(forge: Forge, *names: str) -> None:
    """JUnit reports of rehearsals that went well."""
    for name in names:
        [path] = (forge.artifacts / name).glob("*.xml")
        suite = ElementTree.parse(path).getroot().find("testsuite")
        assert suite is not None and int(suite.attrib["tests"]) > 10
        assert suite.attrib["failures"] == suite.attrib["errors"] == "0"


def test_github_actions(host: Host) -> None:
    """A push to an empty host brings the suite up; a pull request changes nothing and says what it would change;
    merged, it is applied as sealed, and not at all when something moved meanwhile; drift fails. No secret gets out."""
    github, suite = GitHub(host.forge), host.suite
    pushed = github.run("push")
    assert {name: outcome.code for name, outcome in pushed.items()} == {"check": 0, "plan": 0, "apply": 0}, pushed
    check_reports(host.forge, "rehearsal", "live")
    before = suite.pids()

    host.change(connections=200)
    asked = github.run("pull_request", without=["check"])
    assert {name: outcome.code for name, outcome in asked.items()} == {"check": 0, "plan": 0, "comment": 0}, asked
    told = (host.forge.recorded / "gh").read_text().splitlines()
    assert told == ["pr", "comment", "7", "--repo", "example/mail", "--body-file", "comment.md"]
    comment = (host.forge.recorded / "comment.md").read_text()
    assert "connections: 100 -> 200" in comment and comment.startswith("### ")
    assert host.connections == 100 and suite.pids() == before

    def somebody_else(job: str) -> None:
        if job == "apply":
            spec = suite.spec_path.read_text()
            suite.spec_path.write_text(spec.replace('"connections": 200', '"connections": 300'))
            suite.ok("apply")

    stale = github.run("push", without=["check"], before=somebody_else)
    assert stale["apply"].code == 75 and "300" in stale["apply"].output, stale
    assert host.connections == 300
    assert github.run("push", without=["check"])["apply"].code == 0
    assert host.connections == 200

    assert github.run("schedule")["drift"].code == 0
    suite.supervisorctl("stop", "pop")
    drift = github.run("schedule")["drift"]
    assert drift.code == 2 and "pop" in drift.output
    runs = (pushed, asked, stale)
    assert SECRET not in host.forge.everything() + "".join(one.output for run in runs for one in run.values())


class _Notes(BaseHTTPRequestHandler):
    """A forge that takes notes."""

    taken: "list[tuple[str, str | None, str]]"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.taken.append((self.path, self.headers["PRIVATE-TOKEN"], parse_qs(body)["body"][0]))
        self.send_response(201)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        pass


def test_gitlab_ci(host: Host) -> None:
    """As with GitHub: from nothing, a merge request with a note, the change applied as sealed, drift."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: the pipeline's note is sent with it")
    gitlab, suite = GitLab(host.forge), host.suite
    taken: list[tuple[str, str | None, str]] = []
    with HTTPServer(("127.0.0.1", 0), type("Notes", (_Notes,), {"taken": taken})) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host.forge.variables["CI_API_V4_URL"] = f"http://127.0.0.1:{server.server_port}/api/v4"
        pushed = gitlab.run("push")
        assert {name: outcome.code for name, outcome in pushed.items()} == {"check": 0, "plan": 0, "apply": 0}, pushed
        check_reports(host.forge, "check", "apply")

        host.change(connections=200)
        asked = gitlab.run("merge_request_event", without=["check"])
        assert {name: outcome.code for name, outcome in asked.items()} == {"plan": 0, "comment": 0}, asked
        server.shutdown()
    [(path, token, note)] = taken
    assert (path, token) == ("/api/v4/projects/5/merge_requests/7/notes", "token-of-the-review")
    assert "connections: 100 -> 200" in note and host.connections == 100
    assert gitlab.run("push", without=["check"])["apply"].code == 0
    assert host.connections == 200
    assert gitlab.run("schedule")["drift"].code == 0
    suite.supervisorctl("stop", "pop")
    assert gitlab.run("schedule")["drift"].code == 2
    outputs = "".join(one.output for run in (pushed, asked) for one in run.values())
    assert SECRET not in host.forge.everything() + outputs and "token-of-the-review" not in outputs
