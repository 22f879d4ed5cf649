"""`postroom rehearse`: odd specs, early ends, and the suite that runs."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.support.mail_suite import MailSuite
from tests.support.real_suite import LIMIT_S, Done, eventually

pytestmark = pytest.mark.real

ODD = """
version: 1
hostname: mail.example.test
state_dir: ./var
tls: {mode: files, certificate: /nonexistent/cert.pem, private_key: {file: /nonexistent/key.pem}}
services:
  smtp:
    protocol: smtp
    user: nobody-of-us
    processes: 2
    listen:
      - {address: ":25", role: mx, proxy_from: [127.0.0.0/8, "::1"]}
      - {address: "[::1]:587", role: submission, cleartext_login: true, proxy_from: ["::1"]}
      - {address: "192.0.2.77:588", role: submission, tls: none}
    limits: {connections: 10, connections_per_ip: 2}
    settings: {max_message_size: 1KiB}
  smtp-b:
    protocol: smtp
    user: nobody-of-us
    listen: [{address: "192.0.2.77:26", role: mx, tls: none}]
    stop: {drain: 0s}
  smtp-off: {protocol: smtp, user: nobody-of-us, enabled: false, listen: [{address: "192.0.2.77:27", role: mx}]}
  spool: {protocol: spool, user: nobody-of-us, depends_on: [smtp]}
  pop:
    protocol: pop
    user: nobody-of-us
    listen:
      - {address: "192.0.2.77:110", cleartext_login: true, tls: none}
      - {address: "192.0.2.77:995", tls: implicit, proxy_from: [127.0.0.1]}
    settings: {login_delay: 60s, max_errors: 1}
"""

POP_ALONE = """
version: 1
hostname: mail.example.test
services: {pop: {protocol: pop, listen: [{address: ":110"}]}}
"""


class Rehearsing:
    """A folder with a spec; whatever is made for a rehearsal is in `scratch`."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        self.folder = folder
        self.scratch = scratch
        self.environment = {**os.environ, "TMPDIR": str(scratch)}
        self.command = [str(Path(sys.executable).with_name("postroom")), "rehearse"]

    def run(self, *arguments: str) -> Done:
        done = subprocess.run(
            [*self.command, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=2 * LIMIT_S,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def left(self) -> list[str]:
        """Processes and files of rehearsals that are there still."""
        found = [str(path) for path in self.scratch.iterdir()]
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = path.read_bytes()
            except OSError:
                continue  # it has just ended
            if os.fsencode(self.scratch) in line:
                found.append(line.decode())
        return found


@pytest.fixture
def rehearsing(tmp_path: Path) -> Iterator[Rehearsing]:
    with tempfile.TemporaryDirectory(prefix="pr-") as scratch:  # short: paths of sockets are below it
        yield Rehearsing(tmp_path, Path(scratch))


def test_an_odd_spec_is_rehearsed_as_it_is(rehearsing: Rehearsing) -> None:
    """Privileged ports, addresses of another host, a user that is not here, balancers, no accounts, certificates out of
    reach, several services of one protocol and one that is off, limits that hardly leave room: green, and nothing of it
    is left, or was made beside the spec."""
    (rehearsing.folder / "services.yaml").write_text(ODD)
    done = rehearsing.run("--junit", "reports/rehearsal.xml")
    assert done.code == 0, done
    assert "FAIL" not in done.out and done.out.splitlines()[-1].startswith("rehearsal passed: ")
    for line in (
        "smtp: :25 mx: it arrives in the mailbox",
        "smtp: [::1]:587 submission: refuses a wrong password",
        "smtp: 192.0.2.77:588 submission: refuses log-in without TLS",
        "smtp-b: 192.0.2.77:26 mx: takes a message",
        "pop: 192.0.2.77:995: gives the very octets",
        "smtp: DATA ends well after a stop and a start",
        "pop: RETR ends well after a reload",
        "(stop.drain gives it 0 s)",
    ):
        assert line in done.out
    assert "smtp-off" not in done.out
    assert "nobody-of-us" in done.err and "/nonexistent/cert.pem" in done.err
    cases = ElementTree.parse(rehearsing.folder / "reports" / "rehearsal.xml").getroot().findall(".//testcase")
    assert len({(case.attrib["classname"], case.attrib["name"]) for case in cases}) == len(cases)
    assert rehearsing.left() == []
    assert sorted(path.name for path in rehearsing.folder.iterdir()) == ["reports", "services.yaml"]


def test_one_service_alone_is_kept_to_look_at(rehearsing: Rehearsing) -> None:
    """POP without anybody who takes or delivers mail; the kept copy is a folder that can be applied."""
    (rehearsing.folder / "services.yaml").write_text(POP_ALONE)
    done = rehearsing.run("--json", "--keep", "pop")
    report = json.loads(done.out)
    assert done.code == 0 and report["result"] == "passed" and report["failed"] == 0
    assert {"service", "where", "step", "result", "ms", "expected", "came", "log"} == set(report["steps"][0])
    [folder] = rehearsing.left()
    assert report["remarks"] == [f"kept, stopped: {folder}"]
    kept = [rehearsing.command[0], "-f", f"{folder}/services.yaml", "plan", "--json"]
    plan = json.loads(subprocess.run(kept, capture_output=True, check=True, timeout=LIMIT_S).stdout)
    assert [action["action"] for action in plan["actions"] if action["service"] == "pop"] == ["start"]


def test_a_failure_is_told_and_its_logs_are_kept(rehearsing: Rehearsing) -> None:
    """What was expected, what came, where the log is, which is there; exit 1, and a JUnit file all the same."""
    spec = POP_ALONE.replace("{address", "{proxy_from: [127.0.0.1], address")
    (rehearsing.folder / "services.yaml").write_text(
        spec.replace(
            "version: 1", "version: 1\ntls: {mode: files, certificate: cert.pem, private_key: {file: cert.pem}}"
        )
    )
    (rehearsing.folder / "cert.pem").write_text("no certificate")
    done = rehearsing.run("--junit", "rehearsal.xml")
    assert done.code == 1
    assert "FAIL" in done.out and "expected: comes up" in done.out and "cert.pem" in done.out
    assert ElementTree.parse(rehearsing.folder / "rehearsal.xml").getroot().find(".//failure") is not None
    assert all(path.is_dir() or path.suffix == ".log" for path in rehearsing.scratch.rglob("*"))


def test_mistakes_are_told_before_anything_is_done(rehearsing: Rehearsing) -> None:
    """65 and its place for a bad spec, in the JUnit file, too; 64 for a service that is off, or nobody's."""
    (rehearsing.folder / "services.yaml").write_text(ODD.replace("protocol: spool", "protocol: spoool"))
    done = rehearsing.run("--junit", "rehearsal.xml")
    assert done.code == 65 and done.err.startswith("services.yaml:")
    error = ElementTree.parse(rehearsing.folder / "rehearsal.xml").getroot().find(".//error")
    assert error is not None and error.attrib["message"] == done.err.strip()
    (rehearsing.folder / "services.yaml").write_text(ODD)
    assert [rehearsing.run(*words).code for words in (["nope"], ["smtp-off"], ["--live", "--keep"])] == [64, 64, 64]
    assert rehearsing.left() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_early_end_leaves_nothing(number: signal.Signals, rehearsing: Rehearsing) -> None:
    """Ctrl-C: when the command has ended, all is gone; kill -9: soon after."""
    (rehearsing.folder / "services.yaml").write_text(POP_ALONE)
    with subprocess.Popen(
        rehearsing.command,
        cwd=rehearsing.folder,
        env=rehearsing.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout is not None
        assert b"comes up" in process.stdout.readline()
        assert rehearsing.left()
        process.send_signal(number)
        process.stdout.read()
        code = process.wait(LIMIT_S)
    if number == signal.SIGINT:
        assert (code, rehearsing.left()) == (130, [])
    eventually(lambda: rehearsing.left() == [], "the end of all that the rehearsal made")


def test_the_running_suite_is_talked_to(mail_suite: MailSuite) -> None:
    """Green, nothing is stopped, nobody and nothing is left behind; a service that is held is a failure."""
    mail_suite.start()
    before = mail_suite.pids(), mail_suite.run("account", "list").out
    junit = mail_suite.folder / "live.xml"
    assert "gives the very octets" in mail_suite.ok("rehearse", "--live", "--junit", str(junit)).out
    mail_suite.ok("stop", "pop")
    held = mail_suite.run("rehearse", "--live", "--json")
    assert held.code == 1
    failed = [step for step in held.json["steps"] if step["result"] == "failed"]
    assert [(step["service"], step["step"]) for step in failed] == [("pop", "runs")]
    assert mail_suite.ok("rehearse", "--live", "smtp").code == 0
    command = [*mail_suite.command, "-f", str(mail_suite.spec_path), "rehearse", "--live"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert any(b"greets" in line for line in process.stdout), "a guest is there by then"
        process.kill()
    mail_suite.ok("start", "pop")

    def is_clean() -> bool:
        listed = mail_suite.run("account", "list").out, mail_suite.run("account", "list", "--removed").out
        return "rehearsal-" not in "".join(listed)

    eventually(is_clean, "the end of guests whose rehearsal was killed")
    assert mail_suite.run("queue", "list", "--json").json["messages"] == []
    pids, listed = before
    assert {name: pid for name, pid in mail_suite.pids().items() if name != "pop"} == {
        name: pid for name, pid in pids.items() if name != "pop"
    }
    assert mail_suite.run("account", "list").out == listed
