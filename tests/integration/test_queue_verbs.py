"""`postroom queue …` as a person and a script use it, beside a queue that nobody works on."""

import asyncio
import json
import os
import subprocess
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from maillib.address import Address
from maillib.embedded.queue import EmbeddedQueue
from maillib.ports.queue import Envelope, Recipient, RecipientState
from tests.support.real_suite import RealSuite

QUEUED = datetime(2026, 3, 1, 12, 0, 7, tzinfo=UTC)
NEXT = datetime(2090, 1, 1, tzinfo=UTC)
BODY = b"Subject: x\r\n\r\nbody\r\n"
NOBODY = 65534
BOB, CAROL = Address.parse("bob@example.test"), Address.parse("carol@elsewhere.test")
ENVELOPE = Envelope(
    sender=Address.parse("alice@example.test"),
    recipients=(Recipient(address=BOB), Recipient(address=CAROL)),
    queued=QUEUED,
    account=None,
    peer="192.0.2.1",
)


@pytest.fixture
def suite(tmp_path: Path) -> RealSuite:
    suite = RealSuite(tmp_path)
    suite.write({"services": {}})
    return suite


@pytest.fixture
def ids(suite: RealSuite) -> list[str]:
    """A deferred and a new message."""
    return filled(suite.place.state_dir)


def filled(state_dir: Path) -> list[str]:
    async def fill() -> list[str]:
        state_dir.mkdir()
        queue = EmbeddedQueue(state_dir)
        drafts = [queue.draft(), queue.draft()]
        for number, draft in enumerate(drafts):
            await draft.write(BODY)
            await draft.commit(replace(ENVELOPE, queued=QUEUED + timedelta(seconds=number)))
            if number == 0:
                (claim,) = await queue.claim(1)
                done = Recipient(address=BOB, state=RecipientState.DELIVERED, attempts=1, last_reply="2.1.5 delivered")
                waits = Recipient(address=CAROL, state=RecipientState.DEFERRED, attempts=1, last_reply="4.4.0 kept")
                await queue.retry(claim, replace(claim.envelope, recipients=(done, waits)), NEXT)
        await queue.close()
        return [draft.id for draft in drafts]

    return asyncio.run(fill())


def test_list_as_json(suite: RealSuite, ids: list[str]) -> None:
    """The object that scripts rely on: every field of the contract, oldest message first."""
    done = suite.ok("queue", "list", "--json")
    assert done.err == ""
    assert json.loads(done.out) == {
        "schema_version": 1,
        "messages": [
            {
                "id": ids[0],
                "sender": "alice@example.test",
                "size_octets": len(BODY),
                "queued": "2026-03-01T12:00:07Z",
                "state": "deferred",
                "recipients": [
                    {
                        "address": "bob@example.test",
                        "state": "delivered",
                        "attempts": 1,
                        "next_attempt": None,
                        "last_reply": "2.1.5 delivered",
                    },
                    {
                        "address": "carol@elsewhere.test",
                        "state": "deferred",
                        "attempts": 1,
                        "next_attempt": "2090-01-01T00:00:00Z",
                        "last_reply": "4.4.0 kept",
                    },
                ],
            },
            {
                "id": ids[1],
                "sender": "alice@example.test",
                "size_octets": len(BODY),
                "queued": "2026-03-01T12:00:08Z",
                "state": "incoming",
                "recipients": [
                    {
                        "address": address,
                        "state": "queued",
                        "attempts": 0,
                        "next_attempt": None,
                        "last_reply": None,
                    }
                    for address in ("bob@example.test", "carol@elsewhere.test")
                ],
            },
        ],
    }


def test_for_people(suite: RealSuite, ids: list[str]) -> None:
    """Listing and single message say who waits and why, and where the file is."""
    listing = suite.ok("queue", "list").out
    assert ids[0] in listing
    assert "4.4.0 kept" in listing
    shown = suite.ok("queue", "show", ids[0]).out
    assert f"{ids[0]}.eml" in shown
    assert suite.ok("queue", "show", ids[0], "--json").json["recipients"][1]["last_reply"] == "4.4.0 kept"
    stats = suite.ok("queue", "stats", "--json").json
    assert (stats["messages"], stats["states"]["deferred"], stats["oldest"]) == (2, 1, "2026-03-01T12:00:07Z")


def test_retry(suite: RealSuite, ids: list[str]) -> None:
    """A named message, or all of the deferred ones, is tried now; an unknown one is exit 1, no choice is exit 64."""
    assert suite.run("queue", "retry", ids[0], "NOSUCH").code == 1
    assert suite.ok("queue", "stats", "--json").json["states"]["incoming"] == 2
    suite.ok("queue", "retry", "--all")
    assert suite.run("queue", "retry").code == 64
    assert suite.run("queue", "retry", "--all", ids[0]).code == 64


def test_remove(suite: RealSuite, ids: list[str]) -> None:
    """Messages are removed with their bodies; an unknown one is exit 1 and keeps no other from being removed."""
    done = suite.run("queue", "remove", "NOSUCH", *ids)
    assert done.code == 1
    assert "NOSUCH" in done.err
    assert suite.ok("queue", "list", "--json").json["messages"] == []
    assert list((suite.place.state_dir / "spool" / "messages").iterdir()) == []


def test_check(suite: RealSuite, ids: list[str]) -> None:
    """A whole queue is exit 0; damage is named on stdout with exit 1, and shown as such by `list`."""
    suite.ok("queue", "check")
    (suite.place.state_dir / "spool" / "incoming" / f"{ids[1]}.json").write_text("{")
    done = suite.run("queue", "check", "--json")
    assert done.code == 1
    assert [line.split(":")[0] for line in done.json["damaged"]] == [ids[1]]
    assert "cannot be read" in suite.ok("queue", "list").out


def test_before_the_first_apply(suite: RealSuite) -> None:
    """Without a spool the queue is empty and whole, and no folder is made."""
    assert suite.ok("queue", "list", "--json").json == {"schema_version": 1, "messages": []}
    suite.ok("queue", "check")
    assert suite.run("queue", "show", "X").code == 1
    assert not suite.place.state_dir.exists()


def test_heads_and_plurals(suite: RealSuite, ids: list[str]) -> None:
    """A listing for people says what its columns are; one message is not "messages"."""
    lines = suite.ok("queue", "list").out.splitlines()
    assert lines[0].split() == ["id", "state", "octets", "queued", "sender"]
    assert lines[1].split() == ["recipient", "attempts", "address"]
    assert lines[2].split()[:3] == [ids[0], "deferred", str(len(BODY))]
    assert "1 message is tried now" in suite.ok("queue", "retry", "--all").err
    assert "0 messages are tried now" in suite.ok("queue", "retry", "--all").err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to give up")
def test_root_acts_as_the_owner() -> None:
    """What the owner plants in the spool leads root to no files of others; what root makes there is the owner's."""
    with tempfile.TemporaryDirectory() as folder:  # the owner has to come as far as this
        suite = RealSuite(Path(folder))
        suite.write({"services": {}})
        state_dir = suite.place.state_dir
        ids = filled(state_dir)
        for path in (Path(folder), state_dir):
            path.chmod(0o755)
        spool, target = state_dir / "spool", state_dir / "secret.json"
        subprocess.run(["/bin/chown", "-R", f"{NOBODY}:{NOBODY}", str(spool)], check=True)
        target.write_bytes(next((spool / "incoming").iterdir()).read_bytes().replace(ids[1].encode(), b"PLANTED1"))
        target.chmod(0o600)
        (spool / "wake").unlink()
        for name in ("PLANTED1.json", "PLANTED2.json"):
            (spool / "incoming" / name).symlink_to(target)
        (spool / "messages" / "PLANTED1.eml").symlink_to(target)
        (spool / "active" / "1-000000000000").symlink_to(state_dir)
        assert "alice" not in suite.ok("queue", "show", "PLANTED1").out
        assert suite.run("queue", "check").code == 1
        suite.ok("queue", "remove", ids[0], "PLANTED1")
        assert target.exists()
        assert (spool / "wake").stat().st_uid == NOBODY
        assert os.geteuid() == 0
