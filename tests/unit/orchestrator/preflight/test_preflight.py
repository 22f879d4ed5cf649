"""Pre-flight: what speaks against an apply on this host."""

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from maillib.settings.base import Json
from orchestrator import preflight, spec
from orchestrator.errors import PreflightFailed
from tests.support.real_suite import free_ports


def _findings(folder: Path, *addresses: str, service: Mapping[str, Json] | None = None, **top: Json) -> list[str]:
    listen: list[Json] = [{"address": address} for address in addresses or [f"127.0.0.1:{free_ports(1)[0]}"]]
    pop: dict[str, Json] = {"protocol": "pop", "listen": listen, **(service or {})}
    data: dict[str, Json] = {"version": 1, "hostname": "mail.example.test", "services": {"pop": pop}, **top}
    path = folder / "services.yaml"
    path.write_text(json.dumps(data))
    return [str(finding) for finding in preflight.find(spec.read(path)) if finding.is_error]


def test_a_host_that_is_ready_has_no_findings(tmp_path: Path) -> None:
    """Free ports and a writable folder: nothing is said, nothing is made."""
    assert _findings(tmp_path) == []
    assert not (tmp_path / "var").exists()


@pytest.mark.parametrize("wanted", ["127.0.0.1:{}", ":{}"])
def test_taken_port_names_its_holder(tmp_path: Path, wanted: str) -> None:
    """A port that somebody else listens on is found, also by a wildcard, with the process that has it."""
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        [finding] = _findings(tmp_path, wanted.format(foreign.getsockname()[1]))
    assert f"pid {os.getpid()}" in finding and "services.pop.listen[0].address" in finding


def test_taken_ipv6_port_is_found(tmp_path: Path) -> None:
    """The same for IPv6."""
    if not socket.has_ipv6:
        pytest.skip("this host has no IPv6")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as foreign:
        [finding] = _findings(tmp_path, f"[::1]:{foreign.getsockname()[1]}")
    assert f"pid {os.getpid()}" in finding


def test_address_of_another_host_is_found(tmp_path: Path) -> None:
    """An address that this host does not have cannot be listened on. RFC 5737 has those for documentation."""
    [finding] = _findings(tmp_path, "192.0.2.1:2110")
    assert "no address of this host" in finding


def test_disabled_service_needs_no_port(tmp_path: Path) -> None:
    """What is not started is not checked."""
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        assert not _findings(tmp_path, f"127.0.0.1:{foreign.getsockname()[1]}", service={"enabled": False})


def test_unknown_user_is_found(tmp_path: Path) -> None:
    """Workers cannot drop to a user that does not exist."""
    [finding] = _findings(tmp_path, service={"user": "nobody-of-that-name"})
    assert "nobody-of-that-name" in finding


def test_state_dir_that_everybody_may_write_is_found(tmp_path: Path) -> None:
    """Whoever may write to the state directory could replace what is started."""
    (tmp_path / "var").mkdir()
    (tmp_path / "var").chmod(0o777)
    [finding] = _findings(tmp_path)
    assert "everybody may write" in finding


def test_files_of_others_are_not_given_away(tmp_path: Path) -> None:
    """With a user for the services, root would chown what stands under state_dir: `state_dir: /var` is found."""
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    (tmp_path / "var/spool/cron").mkdir(parents=True)
    [finding] = _findings(tmp_path, service={"user": "nobody"})
    assert str(tmp_path / "var/spool") in finding
    assert _findings(tmp_path) == []
    (tmp_path / "var/generations").mkdir()
    assert _findings(tmp_path, service={"user": "nobody"}) == []


def test_check_raises_with_every_finding(tmp_path: Path) -> None:
    """All findings are told at once."""
    _findings(tmp_path, "192.0.2.1:2110", "192.0.2.1:2111")
    with pytest.raises(PreflightFailed) as caught:
        preflight.check(spec.read(tmp_path / "services.yaml"))
    assert len(str(caught.value).splitlines()) == 2
