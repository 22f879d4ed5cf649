"""The checks that look at files, users and programs: against real ones."""

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from maillib import mounts
from maillib.errors import MailError
from maillib.secret import SecretRef
from maillib.settings.base import Json
from orchestrator import certificates, docs, findingdocs, preflight, spec
from orchestrator.place import Place
from orchestrator.preflight import secretrefs
from orchestrator.preflight.finding import Finding, Severity
from tests.support.real_suite import free_ports
from tests.support.small_disk import read_only, small_disk

TLS: Json = {"mode": "files", "certificate": "tls/cert.pem", "private_key": {"file": "tls/key.pem"}}


def findings(folder: Path, *, service: Mapping[str, Json] | None = None, **top: Json) -> dict[str, Finding]:
    """By id, without what is so on the host that tests run on."""
    listen: list[Json] = [{"address": f"127.0.0.1:{free_ports(1)[0]}"}]
    services: Json = {"pop": {"protocol": "pop", "listen": listen, **(service or {})}}
    path = folder / "services.yaml"
    path.write_text(json.dumps({"version": 1, "hostname": "mail.example.test", **top, "services": services}))
    found = {finding.kind.id: finding for finding in preflight.find(spec.read(path))}
    return {name: one for name, one in found.items() if name not in ("user-root", "sockets-elsewhere", "space-low")}


def test_place_in_the_spec(tmp_path: Path) -> None:
    """A finding that comes from a key says where it stands, in text and in JSON."""
    (tmp_path / "services.yaml").write_text(
        "version: 1\nhostname: mail.example.test\nservices:\n  pop:\n    protocol: pop\n"
        "    user: nobody-of-that-name\n    listen: [{address: '127.0.0.1:1'}]\n    enabled: true\n"
    )
    found = {one.kind.id: one for one in preflight.find(spec.read(tmp_path / "services.yaml"))}["user-missing"]
    assert str(found).startswith(f"{tmp_path}/services.yaml:6:11: services.pop.user: there is no user ")
    row = found.as_json()
    assert (row["path"], row["line"], row["column"]) == ("services.pop.user", 6, 11)
    assert row["severity"] == "error" and row["action"]


def test_services_of_several_users(tmp_path: Path) -> None:
    """They link and read one another's files: each that differs is found where it says so, one that is off is not."""
    (tmp_path / "services.yaml").write_text(
        "version: 1\nhostname: mail.example.test\nservices:\n  a: {protocol: spool, user: daemon}\n"
        "  b: {protocol: spool, user: nobody}\n  c: {protocol: spool, user: bin, enabled: false}\n"
    )
    found = [one for one in preflight.find(spec.read(tmp_path / "services.yaml")) if one.kind.id == "user-differs"]
    assert [str(one).split(": ")[1] for one in found] == ["services.b.user"]


def test_what_others_could_write_below_the_state_dir(tmp_path: Path) -> None:
    """Open files and folders where it is decided what is started or who may log in are found; the rest is not read."""
    generation = tmp_path / "var/generations/000001/services"
    generation.mkdir(parents=True)
    (tmp_path / "var/generations/current").symlink_to("000001")
    (generation / "pop.json").touch(mode=0o640)
    assert findings(tmp_path) == {}
    (generation / "pop.json").chmod(0o666)
    assert str(generation.parents[1] / "current/services/pop.json") in findings(tmp_path)["mode-open"].message


def test_folder_above_that_everybody_may_write(tmp_path: Path) -> None:
    """A warning, unless it is sticky as /tmp is."""
    above = tmp_path / "open"
    above.mkdir()
    above.chmod(0o777)
    found = findings(tmp_path, state_dir="open/var")
    assert found["parent-open"].kind.severity is Severity.WARNING
    above.chmod(0o1777)
    assert findings(tmp_path, state_dir="open/var") == {}


def test_state_dir_that_is_a_file(tmp_path: Path) -> None:
    """One finding, and no other check trips over it; the same for a link that leads nowhere."""
    (tmp_path / "var").touch()
    assert [*findings(tmp_path)] == ["state-dir-unusable"]
    (tmp_path / "var").unlink()
    (tmp_path / "var").symlink_to("nowhere")
    assert [*findings(tmp_path)] == ["state-dir-unusable"]


def test_network_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before the store would refuse it."""
    device = tmp_path.stat().st_dev
    listed = tmp_path / "mountinfo"
    listed.write_text(f"36 27 {os.major(device)}:{os.minor(device)} / /srv rw shared:1 - nfs4 server:/mail rw\n")
    monkeypatch.setattr(mounts, "_MOUNTS", listed)
    assert "(nfs4)" in findings(tmp_path)["network-file-system"].message


def test_disks(tmp_path: Path) -> None:
    """Spool and store apart, a full disk, one without inodes and one that is mounted read-only are each told."""
    (tmp_path / "var/mail").mkdir(parents=True)
    with small_disk(tmp_path / "var/spool", size="8m") as disk:
        assert [*findings(tmp_path)] == ["file-systems-differ"]
        disk.fill()
        assert "space-none" in findings(tmp_path)
        disk.free()
        disk.fill_inodes()
        assert "inodes-none" in findings(tmp_path)
    with read_only(tmp_path / "var"):
        assert [*findings(tmp_path)] == ["state-dir-read-only"]


def test_certificate_files(tmp_path: Path) -> None:
    """Missing, no PEM, no file at all, another pair's key, a key open to others: each is told by its id."""
    certificates.ensure(tmp_path, "mail.example.test")
    cert, key = tmp_path / "tls/cert.pem", tmp_path / "tls/key.pem"
    assert findings(tmp_path, tls=TLS) == {}
    key.chmod(0o644)
    assert [*findings(tmp_path, tls=TLS)] == ["key-open"]
    key.chmod(0o600)
    certificates.ensure(tmp_path / "other", "mail.example.test")
    pem = key.read_bytes()
    key.write_bytes((tmp_path / "other/tls/key.pem").read_bytes())
    assert [*findings(tmp_path, tls=TLS)] == ["key-mismatch"]
    key.write_bytes(pem)
    cert.write_text("no certificate")
    assert findings(tmp_path, tls=TLS)["certificate-unreadable"].where == ("tls", "certificate")
    cert.unlink()
    os.mkfifo(cert)
    key.unlink()
    assert [*findings(tmp_path, tls=TLS)] == ["certificate-unreadable", "key-unreadable"]


def too_short(text: str) -> None:
    if len(text) < 3:
        raise MailError("it is too short")


def test_secrets(tmp_path: Path) -> None:
    """Missing, empty and unusable ones are errors, an open file is a warning; none is shown."""
    file = tmp_path / "secret"
    ref = SecretRef("file", str(file))

    def ids() -> list[str]:
        found = [*secretrefs.find(("users", "alice", "password"), ref, too_short)]
        assert all("s3" not in str(finding) for finding in found)
        return [finding.kind.id for finding in found]

    assert ids() == ["secret-missing"]
    file.touch(mode=0o600)
    assert ids() == ["secret-empty"]
    file.write_text("s3\n")
    assert ids() == ["secret-unusable"]
    file.write_text("s3cret\n")
    assert ids() == []
    file.chmod(0o644)
    assert ids() == ["secret-open"]


def test_stranger_on_the_socket_of_supervisord(tmp_path: Path) -> None:
    """Who answers there and is not ours is named."""
    place = Place(tmp_path / "var")
    place.run.mkdir(parents=True, mode=0o700, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(place.supervisor))
        stranger.listen()
        found = findings(tmp_path)
    place.supervisor.unlink()
    assert f"pid {os.getpid()} (" in found["supervisord-foreign"].message


def test_ids_are_unique() -> None:
    """An id names one kind of finding, on one row of the page."""
    rows = [line.split("`")[1] for line in docs.files()["preflight.md"].splitlines() if line.startswith("| `")]
    assert len(rows) == len(set(rows)) > 40
    assert docs.files()["preflight.md"] == findingdocs.text()
