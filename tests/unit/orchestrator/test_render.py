"""Rendering: what changes the files, and what does not."""

from pathlib import Path

import pytest

from maillib.errors import ConfigError
from orchestrator import render, resources, spec, yamltext
from orchestrator.generation import CONFIGURATION
from orchestrator.render import Rendered
from orchestrator.resources import Programs

PROGRAMS = Programs(Path("/opt/bin/python"), Path("/opt/orchestrator/agent.py"), Path("/opt/workers"))
SPEC = """
version: 1
hostname: mail.example.test
state_dir: /srv/mail
services:
  pop: {protocol: pop, listen: [{address: "127.0.0.1:2110"}], depends_on: [spool]}
  spool: {protocol: spool}
"""


def rendered(text: str, *, generation: int = 1, as_root: bool = False, programs: Programs = PROGRAMS) -> Rendered:
    document = yamltext.parse(text.encode(), file="services.yaml")
    found = spec.resolve(document, Path("/etc/services.yaml"))
    return render.render(found, programs, generation=generation, as_root=as_root)


def test_same_spec_same_bytes() -> None:
    """Rendering again, or a spec that says the same in other words, gives the same files."""
    other = """
services: {spool: {protocol: spool, processes: 1}, pop: {depends_on: ["spool"], protocol: pop,
  limits: {memory: 536870912}, stop: {drain: 1m}, listen: [{tls: starttls, address: "127.0.0.1:2110"}]}}
state_dir: ../srv/./mail   # a comment
hostname: MAIL.example.test
version: 1
"""
    assert rendered(SPEC) == rendered(SPEC) == rendered(other)


@pytest.mark.parametrize(
    "key",
    [
        "processes: 2",
        "user: mail",
        "stop: {drain: 5m, after: kill}",
        "limits: {connections: 7}",
        "settings: {max_errors: 3}",
    ],
)
def test_sections_are_constant(key: str) -> None:
    """A changed key changes the file and the digest of that service, and not what supervisord reads."""
    user = SPEC.replace("protocol: spool}", "protocol: spool, user: mail}") if key.startswith("user") else SPEC
    before, after = (
        rendered(user if "user" not in key else SPEC),
        rendered(user.replace("protocol: pop,", f"protocol: pop, {key},")),
    )
    assert before.files[CONFIGURATION] == after.files[CONFIGURATION]
    assert before.digests["pop"] != after.digests["pop"]
    assert before.files["services/pop.json"] != after.files["services/pop.json"]


def test_other_services_are_untouched() -> None:
    """A change of one service leaves the digest of the others."""
    before, after = rendered(SPEC), rendered(SPEC.replace("2110", "2111"))
    assert before.digests["spool"] == after.digests["spool"]
    assert before.digests["pop"] != after.digests["pop"]


def test_digest_does_not_know_the_generation() -> None:
    """A service that did not change has the same digest in every generation."""
    assert rendered(SPEC, generation=1).digests == rendered(SPEC, generation=2).digests


def test_stop_signal_is_in_the_section() -> None:
    """The stop signal is supervisord's to send, so it is in the section."""
    after = rendered(SPEC.replace("protocol: spool}", "protocol: spool, stop: {signal: QUIT}}"))
    assert after.section("spool")["stopsignal"] == "QUIT"
    assert after.section("pop") == rendered(SPEC).section("pop")


def test_disabled_services_have_no_section() -> None:
    """A service that is off has a file, and no program."""
    after = rendered(SPEC.replace("protocol: spool}", "protocol: spool, enabled: false}"))
    assert after.section("spool") == {}
    assert "services/spool.json" in after.files


def test_root() -> None:
    """supervisord is told to stay root only when it is started by root; else it would warn, or refuse."""
    assert "user=root" in rendered(SPEC, as_root=True).files[CONFIGURATION]
    assert "user=" not in rendered(SPEC, as_root=False).files[CONFIGURATION]


@pytest.mark.parametrize("path", ["/opt/my programs/python", "/opt/100%/python", "/opt/x;y/python"])
def test_installation_in_a_folder_that_cannot_be_rendered(path: str) -> None:
    """An installation whose path cannot stand in an INI is an error that names the character."""
    with pytest.raises(ConfigError, match="holds the character"):
        rendered(SPEC, programs=Programs(Path(path), PROGRAMS.agent, PROGRAMS.workers))


def test_programs_of_this_installation() -> None:
    """The programs that supervisord is to start are there."""
    programs = resources.programs()
    assert programs.python.is_absolute()
    assert {path.stem for path in programs.workers.glob("*.py")} >= {"smtp", "spool", "pop"}
