"""The checks that are pure: facts in, findings out."""

import datetime
from collections.abc import Iterable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from maillib.settings.service import Limits
from orchestrator import doctor
from orchestrator.errors import Exit
from orchestrator.preflight import clock, open_files, space, state_dir, tls
from orchestrator.preflight.finding import Finding
from orchestrator.preflight.host import Host
from orchestrator.preflight.space import Room
from orchestrator.preflight.state_dir import Entry

NOW = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
MIB, GIB = 1 << 20, 1 << 30


def host(*, uid: int = 1000, open_files_limit: int | None = None) -> Host:
    return Host(
        uid=uid,
        gid=uid,
        first_free_port=1024,
        binds_low_ports=False,
        open_files=open_files_limit,
        open_files_of_all=None,
        now=NOW.timestamp(),
    )


def ids(findings: Iterable[Finding]) -> list[str]:
    return [finding.kind.id for finding in findings]


@pytest.mark.parametrize(
    ("uid", "gid", "mode", "given_away", "as_root", "found"),
    [
        (1000, 1000, 0o750, False, False, []),
        (0, 0, 0o755, False, False, []),
        (1001, 1000, 0o750, False, False, ["owner-stranger"]),
        (1001, 1001, 0o750, True, False, ["owner-stranger"]),
        (1001, 1001, 0o750, True, True, []),
        (1001, 1001, 0o750, False, True, ["owner-stranger"]),
        (1000, 1000, 0o757, False, False, ["mode-open"]),
        (1000, 1000, 0o770, False, False, []),
        (1000, 50, 0o770, False, False, ["mode-open"]),
        (1000, 50, 0o770, True, False, []),
        (1001, 1001, 0o777, True, True, ["mode-open"]),
    ],
)
def test_owner_and_mode(uid: int, gid: int, mode: int, given_away: bool, as_root: bool, found: list[str]) -> None:
    """Ours or root's, and closed to others; of the data, root gives away what is another user's."""
    entry = Entry(Path("/srv/var/x"), uid, gid, mode, given_away)
    assert ids(state_dir.judge(entry, host(uid=0 if as_root else 1000))) == found


@pytest.mark.parametrize(
    ("octets", "free", "inodes", "inodes_free", "found"),
    [
        (100 * GIB, 50 * GIB, 6_000_000, 5_000_000, []),
        (100 * GIB, GIB // 2, 6_000_000, 5_000_000, ["space-low"]),
        (16 * MIB, 8 * MIB, 4096, 4000, []),
        (16 * MIB, MIB, 4096, 4000, ["space-none"]),
        (100 * GIB, 50 * GIB, 6_000_000, 50_000, ["inodes-low"]),
        (100 * GIB, 50 * GIB, 6_000_000, 10, ["inodes-none"]),
        (100 * GIB, 50 * GIB, 0, 0, []),
    ],
)
def test_room(octets: int, free: int, inodes: int, inodes_free: int, found: list[str]) -> None:
    """A small disk with room is fine, a large one that is nearly full is not; btrfs counts no inodes."""
    assert ids(space.judge(Room(Path("/srv"), octets, free, inodes, inodes_free))) == found


@pytest.mark.parametrize(
    ("limits", "processes", "hard", "found"),
    [
        (Limits(), 1, None, []),
        (Limits(connections=500, open_files=100), 1, None, ["open-files-few"]),
        (Limits(connections=500, open_files=600), 2, None, []),
        (Limits(connections=500, open_files=4096), 1, 1024, ["open-files-few"]),
        (Limits(connections=400, open_files=4096), 1, 1024, ["open-files-capped"]),
        (Limits(connections=400, open_files=4096), 1, 8192, []),
    ],
)
def test_open_files(limits: Limits, processes: int, hard: int | None, found: list[str]) -> None:
    """64 and two for each connection, over all processes, within what the host allows a process."""
    assert ids(open_files.judge(("services", "pop", "limits"), limits, processes, host(open_files_limit=hard))) == found


@pytest.mark.parametrize(
    ("now", "newest", "found"),
    [
        (NOW, None, []),
        (NOW, NOW - datetime.timedelta(days=300), []),
        (NOW, NOW + datetime.timedelta(seconds=30), []),
        (NOW, NOW + datetime.timedelta(hours=1), ["clock-behind"]),
        (datetime.datetime(1970, 1, 1, 0, 5, tzinfo=datetime.UTC), None, ["clock-implausible"]),
        (datetime.datetime(2170, 1, 1, tzinfo=datetime.UTC), None, ["clock-implausible"]),
    ],
)
def test_clock(now: datetime.datetime, newest: datetime.datetime | None, found: list[str]) -> None:
    """A host without a battery begins in 1970; one that was set back is behind its newest generation."""
    assert ids(clock.judge(now.timestamp(), None if newest is None else newest.timestamp())) == found


def certificate(*, begins_d: int, ends_d: int, names: tuple[str, ...]) -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.example.test")])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW + datetime.timedelta(days=begins_d))
        .not_valid_after(NOW + datetime.timedelta(days=ends_d))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), critical=False)
        .sign(key, hashes.SHA256())
    )


@pytest.mark.parametrize(
    ("begins_d", "ends_d", "names", "found"),
    [
        (-10, 90, ("mail.example.test",), []),
        (-10, 90, ("*.example.test",), []),
        (-10, 90, ("MAIL.example.test", "other.test"), []),
        (-100, -1, ("mail.example.test",), ["certificate-expired"]),
        (-100, 13, ("mail.example.test",), ["certificate-expires"]),
        (1, 90, ("mail.example.test",), ["certificate-not-yet-valid"]),
        (-10, 90, ("example.test", "*.mail.example.test"), ["certificate-names"]),
        (-10, 90, ("*.test",), ["certificate-names"]),
    ],
)
def test_certificate(begins_d: int, ends_d: int, names: tuple[str, ...], found: list[str]) -> None:
    """In time for two weeks more, and for the name that clients connect to."""
    one = certificate(begins_d=begins_d, ends_d=ends_d, names=names)
    assert ids(tls.judge(one, Path("cert.pem"), "mail.example.test", NOW.timestamp())) == found


def test_exit_code_is_that_of_the_cause() -> None:
    """Who does not answer comes before what the host lacks, that before what does not run; warnings do not count."""
    silent, down = doctor.SUPERVISORD_SILENT.at((), "x"), doctor.SERVICE.at((), "x")
    taken, damaged = state_dir.OPEN.at((), "x"), doctor.INDEX.at((), "x")
    assert doctor.exit_code([damaged, down, taken, silent]) is Exit.UNAVAILABLE
    assert doctor.exit_code([damaged, down, taken]) is Exit.PREFLIGHT
    assert doctor.exit_code([damaged, down]) is Exit.NOT_AS_WANTED
    assert doctor.exit_code([damaged]) is Exit.FAILED
    assert doctor.exit_code([doctor.HELD.at((), "x"), doctor.NOT_APPLIED.at((), "x")]) is Exit.DONE
