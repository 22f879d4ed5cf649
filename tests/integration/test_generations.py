"""history, diff, rollback, and what an apply makes of damage and of others, against a real supervisord."""

import fcntl
import json
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from maillib import control
from maillib.settings.base import Json
from orchestrator import audit
from tests.support.real_suite import LineClient, RealSuite, eventually, free_ports, is_refused

pytestmark = pytest.mark.real


def _service(*ports: int, **more: Json) -> dict[str, Json]:
    listen: list[Json] = [{"address": f"127.0.0.1:{port}"} for port in ports]
    return {"protocol": "pop", "listen": listen, **more}


def _spec(services: Mapping[str, dict[str, Json]], **top: Json) -> dict[str, Json]:
    return {"services": dict(services), **top}


def _history(suite: RealSuite) -> list[dict[str, Json]]:
    rows: list[dict[str, Json]] = suite.ok("history", "--json").json["generations"]
    return rows


def _told(suite: RealSuite) -> list[tuple[Json, Json, Json]]:
    return [(row["number"], row["result"], row["current"]) for row in _history(suite)]


def test_generations_are_told_compared_and_brought_back(line_suite: RealSuite) -> None:
    """history has each attempt with who, when and what came of it; diff names what differs; rollback makes an earlier
    one hold again as a new one, without touching what does not differ; a failed attempt changes none of it."""
    one, two, three = free_ports(3)
    line_suite.write(_spec({"one": _service(one)}))
    assert line_suite.run("history").code == 0
    assert line_suite.run("rollback").code == 1
    line_suite.ok("apply")
    assert line_suite.run("rollback").code == 1  # there is none before it
    line_suite.write(_spec({"one": _service(one, limits={"connections": 200}), "two": _service(two)}))
    line_suite.ok("apply")
    before = line_suite.pids()
    assert _told(line_suite) == [(1, "applied", False), (2, "applied", True)]
    latest = _history(line_suite)[-1]
    assert "two" in str(latest["summary"]) and audit.user() in str(latest["by"]) and latest["when"]

    assert line_suite.run("diff", "1", "--detailed-exitcode").code == 2
    assert line_suite.run("diff", "2", "2", "--detailed-exitcode").code == 0
    assert "/services/one/limits/connections: 500 -> 200" in line_suite.ok("diff", "1", "2").out
    assert line_suite.ok("diff", "1", "--json").json["differences"][0] == {
        "path": "/services/one/limits/connections",
        "before": 500,
        "after": 200,
    }
    unknown = line_suite.run("diff", "1", "7")
    assert unknown.code == 1 and unknown.err == "postroom: there is no generation 7; there are 1, 2\n"

    certificate = line_suite.place.state_dir / "tls" / "cert.pem"
    served = certificate.read_bytes()
    line_suite.write(_spec({"one": _service(one, three), "two": _service(two)}, hostname="fail.example.test"))
    failed = line_suite.run("apply", "--wait", "20s", "--json")
    assert (failed.json["error"], failed.json["outcome"], failed.json["generation"]) == ("failed", "rolled back", 2)
    assert failed.code == 4 and failed.err.splitlines()[-1].startswith("postroom: one")
    assert (line_suite.pids(), line_suite.generation()) == (before, 2)
    assert certificate.read_bytes() == served
    assert _told(line_suite)[2] == (3, "rolled back", False)
    assert is_refused(three)

    back = line_suite.run("rollback", "--json")
    assert back.code == 0, back
    assert (back.json["generation"], back.json["new"]) == (4, True)
    assert "two" in back.err and "remove" in back.err
    assert line_suite.generation() == 4 and is_refused(two)
    assert line_suite.pids() == {"one": before["one"]}
    assert line_suite.run("diff", "1", "4", "--detailed-exitcode").code == 0
    line_suite.ok("rollback", "--to", "2")
    assert line_suite.run("diff", "2", "--detailed-exitcode").code == 0
    assert "no change" in line_suite.ok("rollback", "--to", "5").out
    with LineClient(two) as client:
        assert client.say("hello") == b"+OK hello\r\n"
    done = [(entry.verb, entry.result, entry.after) for entry in audit.since(line_suite.place.state_dir, 0.0)]
    assert done[0] == ("apply", "done", {"generation": 1})
    assert done[2][1].startswith("rolled back: one") and done[2][2] == {"generation": 2}
    assert done[3] == ("rollback", "done", {"generation": 4})


def test_damaged_generations_are_refused_or_mended(line_suite: RealSuite) -> None:
    """Nothing of what can be missing or broken gives a traceback; nothing that runs is touched by it; the next apply
    makes a whole generation the one in force."""
    [one] = free_ports(1)
    line_suite.write(_spec({"one": _service(one)}))
    line_suite.ok("apply")
    line_suite.write(_spec({"one": _service(one, limits={"connections": 200})}))
    line_suite.ok("apply")
    before = line_suite.pids()
    home = line_suite.place.state_dir / "generations"
    assert line_suite.run("rollback", "--to", "3").code == 1
    (home / "000001" / "spec.yaml").unlink()
    refused = line_suite.run("rollback")
    assert refused.code == 1 and "generation 1 is damaged: spec.yaml is missing" in refused.err
    assert len(refused.err.splitlines()) == 1

    number = 2
    damages: tuple[Callable[[Path], object], ...] = (
        lambda held: (held / "resolved.json").write_text("{"),
        lambda held: (held / "supervisord.conf").write_text("%%%"),
        lambda held: shutil.rmtree(held),
        lambda _: shutil.rmtree(home / "live"),
        lambda _: (home / "current").unlink(),
    )
    for damage in damages:
        damage(home / f"{number:06d}")
        if damage in damages[:3]:
            assert "`postroom apply` makes a new" in line_suite.ok("plan").err
        (home / f"{number + 1:06d}.tmp").mkdir(exist_ok=True)
        for verb in ("status", "plan", "history", "diff 1", "rollback"):
            done = line_suite.run(*verb.split())
            assert "Traceback" not in done.err, done
        done = line_suite.ok("apply")
        found = line_suite.generation()
        assert found is not None and found >= number
        number = found
        assert line_suite.pids() == before
        assert line_suite.run("plan", "--detailed-exitcode").code == 0
        assert not list(home.glob("*.tmp"))
    with LineClient(one) as client:
        assert client.say("hello") == b"+OK hello\r\n"


def test_one_apply_at_a_time(line_suite: RealSuite) -> None:
    """A second one waits, then exits 75 and names who holds the lock since when; a dead holder holds nothing."""
    [one] = free_ports(1)
    line_suite.write(_spec({"one": _service(one)}))
    line_suite.place.state_dir.mkdir()
    lock = line_suite.place.state_dir / "lock"
    lock.write_text(json.dumps({"who": "bob", "verb": "apply", "pid": 1, "started": 1, "since": 0.0}))
    line_suite.ok("apply")
    with lock.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        started = control.start_time(os.getpid())
        file.write(json.dumps({"who": "bob", "verb": "apply", "pid": os.getpid(), "started": started, "since": 0.0}))
        file.flush()
        line_suite.write(_spec({"one": _service(one, limits={"connections": 200})}))
        done = line_suite.run("apply", "--wait", "0s")
        assert done.code == 75
        assert f"bob (postroom apply, pid {os.getpid()}) since 1970-01-01T00:00:00Z" in done.err
        assert line_suite.generation() == 1
    line_suite.ok("apply")
    assert line_suite.generation() == 2


def test_killed_before_its_last_step_status_tells_what_runs(line_suite: RealSuite) -> None:
    """Where a service listens is told as it is, though the generation that says so was not made the one in force."""
    one, two = free_ports(2)
    line_suite.write(_spec({"one": _service(one)}))
    line_suite.ok("apply")
    line_suite.write(_spec({"one": _service(one, two)}))
    line_suite.ok("apply")
    home = line_suite.place.state_dir / "generations"
    (home / "000002" / "result.json").unlink()
    (home / "current").unlink()
    (home / "current").symlink_to("000001")
    done = line_suite.run("status")
    assert "a change was broken off; `postroom apply` ends it" in done.err
    assert line_suite.generation() == 1
    listeners = line_suite.status()["one"]["listeners"]
    assert [row["address"] for row in listeners] == [f"127.0.0.1:{one}", f"127.0.0.1:{two}"]
    line_suite.ok("apply")
    assert line_suite.run("plan", "--detailed-exitcode").code == 0


def test_asked_to_end_it_goes_back(line_suite: RealSuite) -> None:
    """SIGTERM during the switch: what was switched goes back, exit 4; nobody holds the lock."""
    one, two = free_ports(2)
    line_suite.write(_spec({"one": _service(one)}))
    line_suite.ok("apply")
    changed = _spec({"one": _service(one, limits={"memory": "400MiB"}), "two": _service(two)})
    line_suite.write(changed)
    going = line_suite.begin("apply")
    live = line_suite.place.state_dir / "generations" / "live" / "one.json"
    eventually(lambda: "000002" in str(live.readlink()), "one is being switched")
    going.send_signal(signal.SIGTERM)
    assert going.wait(60) == 4
    assert line_suite.generation() == 1
    assert is_refused(two)
    assert line_suite.status()["one"]["generation"] in (1, 2)
    line_suite.write(_spec({"one": _service(one)}))
    assert line_suite.run("plan", "--detailed-exitcode").code == 0


def test_stopped_during_an_apply_it_stays_stopped(line_suite: RealSuite) -> None:
    """`stop` does not wait for an apply, and the apply heeds it: it ends well, the service is held, status says so."""
    one, two = free_ports(2)
    line_suite.write(_spec({"one": _service(one), "two": _service(two)}))
    line_suite.ok("apply")
    line_suite.write(_spec({"one": _service(one, processes=2), "two": _service(two, processes=2)}))
    with line_suite.begin("apply") as going:
        eventually((line_suite.place.state_dir / "generations/000002").exists, "the new generation is written")
        line_suite.ok("stop", "two", "--reason", "disk")
        assert going.wait(60) == 0
    assert line_suite.generation() == 2
    rows = line_suite.status()
    assert (rows["one"]["state"], rows["two"]["state"], rows["two"]["hold"]["why"]) == ("running", "stopped", "disk")
    assert is_refused(two)
    line_suite.ok("start", "two")
    assert line_suite.run("plan", "--detailed-exitcode").code == 0
