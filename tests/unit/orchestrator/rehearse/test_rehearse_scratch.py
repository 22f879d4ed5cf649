"""The copy of a spec that a rehearsal brings up, and its end."""

import json
import os
import pwd
import socket
from pathlib import Path

from orchestrator.cli import accounts
from orchestrator.rehearse import scratch

SPEC = """
version: 1
hostname: mail.example.test
state_dir: /nonexistent/var
accounts: people.yaml
tls: {mode: files, certificate: cert.pem, private_key: {file: key.pem}}
services:
  smtp:
    protocol: smtp
    user: %s
    processes: 3
    listen: [{address: ":25", role: mx, proxy_from: [10.0.0.0/8]}, {address: "[2001:db8::1]:587", role: submission}]
    stop: {drain: 1h}
    limits: {connections: 7}
    settings: {max_message_size: 3MiB}
  pop: {protocol: pop, user: %s, enabled: false, listen: [{address: "192.0.2.1:110", cleartext_login: true}]}
"""
ACCOUNTS = """
version: 1
domains:
  example.test:
    users:
      alice: {name: Alice, password: {file: /nonexistent/secret}, quota: 1GiB}
      bob:
    aliases: {sales: [alice]}
    lists: {team: {members: [alice]}}
retrieval:
  - {name: old, account: alice@example.test, server: "192.0.2.1:110", tls: none, user: a, password: {file: secret}}
"""


def write(tmp_path: Path, user: str) -> tuple[Path, Path, list[str], scratch.Ports]:
    source, folder = tmp_path / "source", tmp_path / "scratch"
    source.mkdir()
    folder.mkdir(mode=0o700)
    (source / "services.yaml").write_text(SPEC % (user, user))
    (source / "people.yaml").write_text(ACCOUNTS)
    spec, _ = accounts.read(source / "services.yaml")
    ports = scratch.Ports()
    with ports:
        path, remarks = scratch.write(spec, folder, ports)
    return path, folder, remarks, ports


def test_the_copy_differs_where_it_has_to(tmp_path: Path) -> None:
    """Addresses, folder, unreadable files and an unknown user; no secret is named, all else is as declared."""
    path, folder, remarks, ports = write(tmp_path, "nobody-of-us")
    copy, declared = accounts.read(path)
    smtp, pop = copy.services["smtp"].config, copy.services["pop"]
    assert copy.state_dir == folder / "var" and copy.tls_mode == "files"
    assert (smtp.processes, smtp.stop.drain, smtp.limits.connections) == (3, 3600, 7)
    assert (smtp.user, smtp.listen[0].proxy_from, smtp.listen[0].role) == (None, ("10.0.0.0/8",), "mx")
    assert {listener.host for listener in smtp.listen} <= {"127.0.0.1", "::1"}
    assert not pop.enabled and pop.config.listen[0].cleartext_login
    assert smtp.tls is not None and Path(smtp.tls.private_key).is_relative_to(folder)
    assert {ports.declared[listener.address] for listener in smtp.listen} == {":25", "[2001:db8::1]:587"}
    text = (folder / "accounts.yaml").read_text()
    assert "password" not in text and "secret" not in text and "retrieval" not in text
    assert json.loads(text)["domains"]["example.test"]["aliases"] == {"sales": ["alice"]}
    assert json.loads(text)["domains"]["example.test"]["lists"] == {"team": {"members": ["alice"]}}
    assert [*declared.find()] == []
    assert [remark.partition(":")[0] for remark in remarks] == ["tls", "user"]


def test_what_can_be_had_here_is_kept(tmp_path: Path) -> None:
    """A user that workers can become."""
    me = pwd.getpwuid(os.geteuid()).pw_name
    path, _, remarks, _ = write(tmp_path, me)
    copy, _ = accounts.read(path)
    assert copy.services["smtp"].config.user == me
    assert [remark.partition(":")[0] for remark in remarks] == ["tls"]


def test_a_port_is_nobody_elses_until_a_master_listens() -> None:
    """It is bound: another socket gets another one. A connection is refused, and a master may listen on it."""
    with scratch.Ports() as ports:
        address = ports.instead_of(":25")
        host, _, port = address.rpartition(":")
        assert ports.instead_of(":25") != address
        with socket.socket() as client:
            assert client.connect_ex((host, int(port))) != 0
        with socket.socket() as master:
            master.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            master.bind((host, int(port)))
            master.listen()


def test_removing_leaves_what_is_asked_for(tmp_path: Path) -> None:
    """Everything, the logs alone, or nothing."""

    def made() -> Path:
        folder = tmp_path / "scratch"
        (folder / "var" / "log").mkdir(parents=True)
        (folder / "var" / "mail").mkdir()
        (folder / "var" / "log" / "pop.log").write_text("")
        (folder / "services.yaml").write_text("")
        return folder

    folder = made()
    scratch.remove(folder, scratch.KEEP_ALL)
    assert (folder / "services.yaml").exists() and (folder / "var" / "mail").exists()
    scratch.remove(folder, scratch.KEEP_LOGS)
    assert [str(path.relative_to(folder)) for path in folder.rglob("*")] == ["var", "var/log", "var/log/pop.log"]
    scratch.remove(folder, "")
    assert not folder.exists()
    scratch.remove(made(), "")
    assert not folder.exists()
