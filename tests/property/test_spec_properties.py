"""No text makes the reader of a spec fail in a way of its own, and no string in it becomes something else."""

import copy
import json
import os.path
from configparser import RawConfigParser
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import spec, yamltext
from orchestrator.generation import CONFIGURATION
from orchestrator.problems import SpecErrors
from orchestrator.render import render
from orchestrator.resources import Programs
from orchestrator.spec import Spec

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = (ROOT / "services.yaml").read_text(encoding="utf-8")
PLACE = Path("/etc/postroom/services.yaml")
PROGRAMS = Programs(Path("/opt/bin/python"), Path("/opt/orchestrator/agent.py"), Path("/opt/workers"))

KEYS = [
    *("version", "hostname", "state_dir", "accounts", "tls", "mode", "certificate", "private_key", "file", "env"),
    *("services", "smtp", "spool", "pop", "protocol", "enabled", "processes", "user", "listen", "address", "role"),
    *("depends_on", "stop", "signal", "drain", "after", "limits", "connections", "memory", "settings", "retry"),
]
WORDS = [*KEYS, "starttls", "implicit", "none", "mx", "submission", "127.0.0.1:25", ":25", "[::]:25", "5m", "50MiB"]

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(WORDS), st.dates()
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(KEYS), scalars), inner, max_size=5),
    ),
    max_leaves=25,
)

HOSTILE = [
    "x\n[program:evil]\ncommand=/bin/sh",
    "x\rcommand=/bin/sh",
    "%(ENV_HOME)s",
    "100%",
    "a ; comment",
    "a # comment",
    'x",LD_PRELOAD="/tmp/x.so',
    "it's",
    "back\\slash",
    "]\n[supervisord]\nuser=root",
    "nul\0",
    "\u2028command=x",
    "\x85command=x",
    "{{ suite.socket }}{% raw %}",
    "../../etc/passwd",
    "-",
    " ",
    "",
    "$(reboot)`reboot`",
    "a" * 5000,
    "ünï",
    "true",
    "025",
]
hostile = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(max_size=30),
    st.builds("{}{}".format, st.sampled_from(["/srv/mail", "mail", "127.0.0.1:25", "5m"]), st.sampled_from(HOSTILE)),
)


def read(data: bytes) -> Spec | SpecErrors:
    """Whatever else is raised fails the test."""
    try:
        return spec.resolve(yamltext.parse(data, file="services.yaml"), PLACE)
    except SpecErrors as error:
        return error


def check(found: Spec | SpecErrors) -> None:
    """A refusal is one printable line per problem, a spec can be rendered."""
    if isinstance(found, SpecErrors):
        assert found.problems
        assert all(str(problem).isprintable() for problem in found.problems)
        json.dumps([problem.as_json() for problem in found.problems])
    else:
        render(found, PROGRAMS, generation=1, as_root=False)


@given(st.binary(max_size=200))
def test_any_octets(data: bytes) -> None:
    """Octets of any kind are a spec or are refused."""
    check(read(data))


@given(st.text(alphabet=st.sampled_from("ab:-[]{},&*!|>'\"%@`#?~\n\t .0123"), max_size=80))
def test_any_yaml(text: str) -> None:
    """Text made of YAML's own characters is a spec or is refused."""
    check(read(text.encode()))


@given(values)
def test_any_values(value: object) -> None:
    """Any tree of values, of our keys or others, is a spec or is refused."""
    check(read(yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogatepass")))


@given(st.data())
def test_edits_of_a_good_spec(data: st.DataObject) -> None:
    """The shipped file with any piece replaced by any text is a spec or is refused."""
    start = data.draw(st.integers(0, len(SHIPPED)))
    end = data.draw(st.integers(start, min(len(SHIPPED), start + 60)))
    piece = data.draw(st.one_of(st.text(max_size=20), st.sampled_from(WORDS), st.just(SHIPPED[start:end] * 2)))
    check(read((SHIPPED[:start] + piece + SHIPPED[end:]).encode("utf-8", "surrogatepass")))


def string_places(value: object, where: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where strings stand in a tree, keys included (as the path to their value, and 'key')."""
    if isinstance(value, dict):
        return [place for key, below in value.items() for place in string_places(below, (*where, key))]
    if isinstance(value, list):
        return [place for number, below in enumerate(value) for place in string_places(below, (*where, number))]
    return [where] if isinstance(value, str) else []


FULL = {
    "version": 1,
    "hostname": "mail.example.test",
    "state_dir": "/srv/mail",
    "accounts": "accounts.yaml",
    "tls": {"mode": "files", "certificate": "cert.pem", "private_key": {"file": "key.pem"}},
    "services": {
        "smtp": {
            "protocol": "smtp",
            "user": "mail",
            "listen": [{"address": "127.0.0.1:25", "role": "mx", "tls": "starttls"}],
            "depends_on": ["spool"],
            "stop": {"signal": "TERM", "drain": "60s", "after": "goodbye"},
            "limits": {"memory": "512MiB"},
            "settings": {"max_message_size": "50MiB", "command_timeout": "5m"},
        },
        "spool": {"protocol": "spool", "user": "mail", "settings": {"retry": ["5m"]}},
    },
}
PLACES = string_places(FULL)


def replaced(place: tuple[str | int, ...], text: str) -> bytes:
    changed: object = copy.deepcopy(FULL)
    *above, last = place
    around: object = changed
    for step in above:
        around = around[step]  # type: ignore[index]
    around[last] = text  # type: ignore[index]
    return json.dumps(changed).encode()  # JSON is YAML, and says exactly which string is meant


def written_values(found: Spec) -> set[str]:
    """Every string of the service files and of the resolved spec."""
    rendered = render(found, PROGRAMS, generation=1, as_root=False)
    trees = [json.loads(text) for name, text in rendered.files.items() if name != CONFIGURATION]
    trees.append(json.loads(json.dumps(spec.resolved(found))))
    strings: set[str] = set()

    def collect(value: object) -> None:
        for below in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            collect(below)
        if isinstance(value, str):
            strings.add(value)

    collect(trees)
    return strings


def sections(found: Spec) -> dict[str, dict[str, str]]:
    """What a lenient parser, as supervisor's, reads from the rendered file."""
    parser = RawConfigParser(strict=False, inline_comment_prefixes=(";", "#"))
    parser.read_string(render(found, PROGRAMS, generation=1, as_root=False).files[CONFIGURATION])
    return {name: dict(parser[name]) for name in parser.sections()}


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
@settings(max_examples=40)
@given(text=hostile)
def test_hostile_strings(place: tuple[str | int, ...], text: str) -> None:
    """A string in any place is refused, or is exactly what the services are told; it never makes another section."""
    found = read(replaced(place, text))
    check(found)
    if isinstance(found, SpecErrors):
        return
    if place[-1] in ("accounts", "certificate", "file", "state_dir"):
        assert os.path.normpath(PLACE.parent / text) in written_values(found)
    good = read(json.dumps(FULL).encode())
    assert isinstance(good, Spec)
    before, after = sections(good), sections(found)
    if place[-1] == "state_dir":
        assert before.keys() == after.keys()
        assert all(before[name].keys() == after[name].keys() for name in before)
    elif place[-1] == "signal":
        assert before.keys() == after.keys()
    else:
        assert before == after


@settings(max_examples=200)
@given(text=hostile)
def test_hostile_names(text: str) -> None:
    """A service name is of the alphabet, or is refused."""
    changed = json.loads(json.dumps(FULL))
    changed["services"][text] = {"protocol": "spool", "user": "mail"}
    found = read(json.dumps(changed).encode())
    check(found)
    if isinstance(found, Spec):
        assert set(sections(found)) >= {f"program:{text}", "program:smtp", "program:spool"}
