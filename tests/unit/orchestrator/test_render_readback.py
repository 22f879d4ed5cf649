"""supervisor's own parser reads what was meant, or the difference is named."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import resources, spec
from orchestrator.generation import CONFIGURATION
from orchestrator.readback import ReadBackFailed, read_back
from orchestrator.render import Rendered, render

SPEC = """
version: 1
hostname: mail.example.test
state_dir: var
services:
  smtp: {protocol: smtp, listen: [{address: "127.0.0.1:2525", role: mx}]}
  spool: {protocol: spool, stop: {signal: QUIT}}
"""


@pytest.fixture
def case() -> Iterator[tuple[Path, Rendered]]:
    """A rendered file in a state directory that exists, and what was meant by it."""
    with tempfile.TemporaryDirectory() as name:  # short enough for the sockets to be in it
        folder = Path(name)
        (folder / "services.yaml").write_text(SPEC)
        for made in ("log", "run"):
            (folder / "var" / made).mkdir(parents=True)
        found = spec.read(folder / "services.yaml")
        rendered = render(found, resources.programs(), generation=1, as_root=os.geteuid() == 0)
        path = folder / CONFIGURATION
        path.write_text(rendered.files[CONFIGURATION])
        yield path, rendered


def open_descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_what_was_rendered(case: tuple[Path, Rendered]) -> None:
    """The rendered file reads back as it was meant, and nothing stays open."""
    before = open_descriptors()
    read_back(*case)
    assert open_descriptors() == before


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("autostart=false", "autostart=true", r"\[program:smtp\] autostart"),
        ("stopwaitsecs", "stopwaitsec", r"\[eventlistener:agent\] stopwaitsecs"),
        ("stopsignal=QUIT", "stopsignal=KILL", r"\[program:spool\] stopsignal"),
        ("workers/spool.py", "workers/pop.py", r"\[program:spool\] command"),
        ("command=", "command=/bin/sh ;", r"\[eventlistener:agent\] command"),
        ("[program:spool]", "[program:evil]", r"\[program:evil\] is not meant"),
        ("[program:spool]", "[program:evil]\ncommand=/bin/sh\n[program:spool]", r"\[program:evil\] is not meant"),
        ("[supervisorctl]", "[inet_http_server]\nport=127.0.0.1:9001\n[supervisorctl]", r"\[inet_http_server\]"),
        ("[supervisorctl]", "[include]\nfiles=/nowhere/*\n[supervisorctl]", r"\[include\]"),
        ("[supervisorctl]\nserverurl", "[supervisorctl]\nserverur", r"\[supervisorctl\] serverurl"),
        ("chmod=0700", "chmod=0777", r"\[unix_http_server\] chmod"),
        ("umask=027", "umask=000", r"\[supervisord\] umask"),
        ("identifier=postroom", "identifier=other ; comment", r"\[supervisord\] identifier"),
        ("priority=10", 'priority=10\nenvironment=HOME="%(ENV_HOME)s"', r"\[program:smtp\] environment"),
        ("priority=10", "priority=10\nnumprocs=2\nprocess_name=%(process_num)d", r"\[smtp\].* 2 processes"),
        ("priority=10", "priority=ten", "does not take it"),
        ("priority=10", "priority=%", "does not take it"),
        ("[program:smtp]", "program:smtp", "does not take it"),
        ("/var/log/", "/var/gone/", "does not take it"),
    ],
)
def test_anything_else(case: tuple[Path, Rendered], old: str, new: str, named: str) -> None:
    """A file that says something else, or nothing that supervisor takes, is refused by section and key."""
    path, rendered = case
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ReadBackFailed, match=named):
        read_back(path, rendered)


def test_not_text(case: tuple[Path, Rendered]) -> None:
    """A file that is no UTF-8, or is gone, is refused as well."""
    path, rendered = case
    path.write_bytes(b"[supervisord]\nidentifier=\xff\n")
    with pytest.raises(ReadBackFailed):
        read_back(path, rendered)
    path.unlink()
    with pytest.raises(ReadBackFailed):
        read_back(path, rendered)
