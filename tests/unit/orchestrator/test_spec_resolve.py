"""From services.yaml to what each service is told."""

import json
from pathlib import Path

import pytest

from maillib import control
from maillib.settings import service as service_settings
from maillib.settings.service import Limits, Listener, Stop, TlsFiles
from orchestrator import spec, yamltext
from orchestrator.fields import SocketAddress
from orchestrator.iniword import ini_word
from orchestrator.problems import MAX_PROBLEMS, SpecErrors
from orchestrator.render import service_file

ROOT = Path(__file__).resolve().parents[3]
TOP = "version: 1\nhostname: mail.example.test\nstate_dir: /srv/mail\n"
POP = "  pop: {protocol: pop, listen: [{address: '127.0.0.1:2110'}]}\n"


def resolve(text: str, place: str = "/etc/postroom/services.yaml") -> spec.Spec:
    return spec.resolve(yamltext.parse(text.encode(), file="services.yaml"), Path(place))


def test_shipped_file() -> None:
    """The services.yaml that comes along is valid, with the names and ports of the README."""
    found = spec.read(ROOT / "services.yaml")
    assert {
        name: [listener.port for listener in service.config.listen] for name, service in found.services.items()
    } == {"imap": [2143, 2993], "pop": [2110, 2995], "smtp": [2525, 2587, 2465], "spool": []}
    assert all(
        listener.host == "127.0.0.1" for service in found.services.values() for listener in service.config.listen
    )
    assert found.state_dir == ROOT / "var"


def test_defaults() -> None:
    """What a spec leaves out has the documented, safe default."""
    found = resolve(f"{TOP}services:\n{POP}")
    config = found.services["pop"].config
    assert found.accounts is None
    assert found.services["pop"].enabled
    assert found.services["pop"].depends_on == ()
    assert config.processes == 1
    assert config.user is None
    assert config.listen == (Listener(host="127.0.0.1", port=2110, tls="starttls", role=None, cleartext_login=False),)
    assert config.stop == Stop(signal="TERM", drain=60.0, after="goodbye")
    assert config.limits == Limits(connections=500, connections_per_ip=200, memory=512 << 20, open_files=4096)
    assert config.tls == TlsFiles(certificate="/srv/mail/tls/cert.pem", private_key="/srv/mail/tls/key.pem")


def test_relative_paths() -> None:
    """Relative paths start at the spec, whatever the current folder is."""
    found = resolve(
        "version: 1\nhostname: x.test\nstate_dir: ../var\naccounts: a/accounts.yaml\n"
        "tls: {mode: files, certificate: tls/c.pem, private_key: {file: ../k.pem}}\n"
        f"services:\n{POP}"
    )
    config = found.services["pop"].config
    assert found.state_dir == Path("/etc/var")
    assert config.state_dir == "/etc/var"
    assert found.accounts == Path("/etc/postroom/a/accounts.yaml")
    assert config.tls == TlsFiles(certificate="/etc/postroom/tls/c.pem", private_key="/etc/k.pem")


def test_run_dir_of_a_long_state_dir() -> None:
    """Sockets of a deep state directory are in a short one, which services are told."""
    found = resolve(f"version: 1\nhostname: x.test\nstate_dir: /srv/{'d' * 100}\nservices:\n{POP}")
    assert found.run_dir == control.run_dir(found.state_dir)
    assert len(str(found.run_dir)) < 60
    assert found.services["pop"].config.run_dir == str(found.run_dir)


def test_no_certificate_without_tls() -> None:
    """A service none of whose listeners does TLS is told of no certificate."""
    found = resolve(TOP + "services:\n  pop: {protocol: pop, listen: [{address: ':1', tls: none}]}\n")
    assert found.services["pop"].config.tls is None


@pytest.mark.parametrize(
    ("written", "seconds"), [("0s", 0.0), ("30s", 30.0), ("5m", 300.0), ("1h", 3600.0), ("007m", 420.0)]
)
def test_durations(written: str, seconds: float) -> None:
    """Durations are a whole number and a unit."""
    found = resolve(f"{TOP}services:\n  spool: {{protocol: spool, stop: {{drain: {written}}}}}\n")
    assert found.services["spool"].config.stop.drain == seconds


@pytest.mark.parametrize(
    ("written", "octets"),
    [("134217728", 1 << 27), ("'134217728'", 1 << 27), ("131072KiB", 1 << 27), ("128MiB", 1 << 27), ("2GiB", 2 << 30)],
)
def test_sizes(written: str, octets: int) -> None:
    """Sizes are octets, or a whole number and a binary unit."""
    found = resolve(f"{TOP}services:\n  spool: {{protocol: spool, limits: {{memory: {written}}}}}\n")
    assert found.services["spool"].config.limits.memory == octets


def test_services_are_in_the_order_of_their_names() -> None:
    """The order in the file decides nothing."""
    spool = "  {0}: {{protocol: spool}}\n"
    text = TOP + "services:\n" + "".join(spool.format(name) for name in ("c", "a", "b"))
    assert list(resolve(text).services) == ["a", "b", "c"]


def test_a_disabled_service_takes_no_port() -> None:
    """Two services may share a port when only one of them is enabled."""
    found = resolve(f"{TOP}services:\n{POP}  old: {{protocol: pop, enabled: false, listen: [{{address: ':2110'}}]}}\n")
    assert not found.services["old"].enabled


def test_problems_are_in_the_order_of_the_text() -> None:
    """Whoever finds a mistake, it is told where it stands in the file."""
    with pytest.raises(SpecErrors) as refused:
        resolve("hostname: _\nservices:\n  A: {protocol: x}\nversion: 0\nversion: 1\nzzz: 1\n")
    lines = [problem.line for problem in refused.value.problems]
    assert lines == [1, 3, 3, 4, 5, 6]


def test_service_file_is_what_a_worker_loads() -> None:
    """The file of a service loads, in a worker, to the very settings of the spec."""
    for service in spec.read(ROOT / "services.yaml").services.values():
        loaded = service_settings.parse(service_file(service.config, generation=3))
        assert loaded.service == service.config
        assert loaded.generation == 3


def test_resolved_is_plain_json() -> None:
    """The resolved spec is JSON, and holds each service as its file does."""
    found = spec.read(ROOT / "services.yaml")
    resolved = json.loads(json.dumps(spec.resolved(found)))
    for name, service in found.services.items():
        assert resolved["services"][name]["config"] == json.loads(service_file(service.config, generation=0))["service"]


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("127.0.0.1:1", "127.0.0.1:1", True),
        ("127.0.0.1:1", "127.0.0.1:2", False),
        ("127.0.0.1:1", "127.0.0.2:1", False),
        ("127.0.0.1:1", "[::1]:1", False),
        ("0.0.0.0:1", "127.0.0.1:1", True),
        ("0.0.0.0:1", "[::1]:1", False),
        ("[::]:1", "[::1]:1", True),
        ("[::]:1", "127.0.0.1:1", True),
        ("[::]:1", "0.0.0.0:1", True),
        (":1", "127.0.0.1:1", True),
        (":1", "[::1]:1", True),
        (":1", ":1", True),
        ("[::1]:1", "[0:0:0:0:0:0:0:1]:1", True),
    ],
)
def test_clashing_addresses(one: str, other: str, clash: bool) -> None:
    """Two addresses clash when not both can be listened on, on whichever host; in either order."""
    first, second = SocketAddress.parse(one), SocketAddress.parse(other)
    assert first.clashes_with(second) is second.clashes_with(first) is clash


@pytest.mark.parametrize(
    "text", ["a b", "a\nb", "a;b", "a%b", 'a"b', "a'b", "a#b", "a\\b", "a\0b", "ä", "a\u2028b", ""]
)
def test_words_that_may_not_reach_the_ini(text: str) -> None:
    """One character outside of the alphabet is enough to refuse."""
    with pytest.raises(ValueError, match="holds"):
        ini_word(text)


@pytest.mark.parametrize(
    "services",
    [
        "".join(f"  s{n}: {{protocol: spool, depends_on: [t{n}]}}\n" for n in range(20_000)),
        "".join(f"  s{n}: {{protocol: spool, proceses: 1}}\n" for n in range(20_000)),
        "".join(f"  s{n}: {{protocol: spool, depends_on: [s{n + 1}]}}\n" for n in range(20_000)),
        "  p: {protocol: pop, listen: [" + "{address: ':1'}," * 50_000 + "]}\n",
        "".join(
            f"  s{n}: {{protocol: pop, listen: [{{address: '127.0.{n >> 8}.{n & 255}:1'}}]}}\n" for n in range(9_000)
        ),
        "  s: {protocol: spool}\n" * 30_000,
    ],
    ids=["unknown-dependencies", "unknown-keys", "long-chain", "one-port", "one-port-many-hosts", "duplicates"],
)
def test_a_file_full_of_anything_is_answered(services: str) -> None:
    """The largest file, wrong everywhere, takes no more than the test's limit of time, and few enough lines to read."""
    try:
        resolve(f"{TOP}services:\n{services}")
    except SpecErrors as refused:
        assert 0 < len(refused.problems) <= 2 * MAX_PROBLEMS
