"""plan and apply against a real supervisord, with services that speak lines."""

import json
import os
import signal
import socket
import stat
from collections.abc import Mapping

import pytest

from maillib.settings.base import Json
from tests.support.real_suite import LineClient, RealSuite, eventually, free_ports, is_refused

pytestmark = pytest.mark.real


def _service(*ports: int, **more: Json) -> dict[str, Json]:
    listen: list[Json] = [{"address": f"127.0.0.1:{port}"} for port in ports]
    return {"protocol": "pop", "listen": listen, **more}


def _spec(services: Mapping[str, dict[str, Json]], **top: Json) -> dict[str, Json]:
    return {"services": dict(services), **top}


def _actions(suite: RealSuite) -> dict[str, str]:
    return {action["service"]: action["action"] for action in suite.run("plan", "--json").json["actions"]}


def test_first_apply_starts_all_and_a_second_touches_nothing(line_suite: RealSuite) -> None:
    """After apply every service answers; the same spec again makes no generation and changes no pid."""
    one, two = free_ports(2)
    line_suite.write(_spec({"one": _service(one), "two": _service(two, depends_on=["one"])}))
    assert _actions(line_suite) == {"one": "add", "two": "add"}
    line_suite.ok("apply")
    line_suite.ok("status")
    assert stat.S_IMODE(line_suite.place.run.stat().st_mode) == 0o700
    with LineClient(one) as client:
        assert client.greeting == b"+OK ready\r\n"
    before = line_suite.pids()
    assert "no change" in line_suite.ok("apply").out
    assert line_suite.pids() == before
    assert line_suite.generation() == 1
    assert line_suite.run("plan", "--detailed-exitcode").code == 0
    assert sorted(path.name for path in (line_suite.place.state_dir / "generations").glob("[0-9]*")) == ["000001"]


def test_changed_port_touches_only_its_service_and_keeps_sessions(line_suite: RealSuite) -> None:
    """Moving one service to another port keeps the other's pid and its own open sessions; the plan said so."""
    one, two, moved = free_ports(3)
    line_suite.write(_spec({"one": _service(one), "two": _service(two)}))
    line_suite.ok("apply")
    before = line_suite.pids()
    with LineClient(two) as client:
        line_suite.write(_spec({"one": _service(one), "two": _service(moved)}))
        plan = line_suite.run("plan", "--json", "--detailed-exitcode")
        assert plan.code == 2
        [action] = [action for action in plan.json["actions"] if action["action"] != "none"]
        assert action["service"] == "two" and action["action"] == "reload"
        assert action["because"] == [{"path": "/services/two/listen/0/port", "before": two, "after": moved}]
        assert action["class"] == "re-listen"
        effect = {"new_connections": "uninterrupted", "sessions_now": 1, "sessions_kept": 1, "drain_limit_s": None}
        effect |= {"listeners_open": [f"127.0.0.1:{moved}"], "listeners_close": [f"127.0.0.1:{two}"]}
        assert action["effect"] == {**effect, "messages_waiting": None, "data_kept": []}
        line_suite.ok("apply")
        assert line_suite.pids() == before
        assert is_refused(two)
        with LineClient(moved) as other:
            assert other.say("hello") == b"+OK hello\r\n"
        assert client.say("still here") == b"+OK still here\r\n"
        row = line_suite.status()["two"]
        assert (row["state"], row["finishing"], row["generation"]) == ("running", 0, 2)
    assert line_suite.status()["one"]["generation"] == 1


def test_port_moves_to_another_address_and_to_another_service(line_suite: RealSuite) -> None:
    """From one address to every address and back, and to a service before it in the spec: sessions go on."""
    one, two = free_ports(2)
    line_suite.write(_spec({"one": _service(one, two)}))
    line_suite.ok("apply")
    everywhere: dict[str, Json] = {
        "protocol": "pop",
        "listen": [{"address": f":{one}"}, {"address": f"127.0.0.1:{two}"}],
    }
    with LineClient(one) as client:
        line_suite.write(_spec({"one": everywhere}))
        line_suite.ok("apply")
        with LineClient(one) as other:
            assert other.say("hello") == b"+OK hello\r\n"
        line_suite.write(_spec({"before": _service(two), "one": _service(one)}))
        line_suite.ok("apply")
        line_suite.ok("status")
        with LineClient(two) as other:
            assert other.say("hello") == b"+OK hello\r\n"
        assert client.say("still here") == b"+OK still here\r\n"


def test_service_that_does_not_become_ready_is_not_cut_over(line_suite: RealSuite) -> None:
    """Exit 4: the old workers keep serving, what was switched before goes back, the generation stays."""
    one, two, three = free_ports(3)
    line_suite.write(_spec({"one": _service(one)}))
    line_suite.ok("apply")
    before = line_suite.pids()
    line_suite.write(_spec({"one": _service(one, two), "zfails": _service(three)}, hostname="fail.example.test"))
    done = line_suite.run("apply", "--wait", "5s")
    assert done.code == 4, done
    assert "told to fail" in done.err
    assert line_suite.pids() == before
    assert line_suite.generation() == 1
    with LineClient(one) as client:
        assert client.say("hello") == b"+OK hello\r\n"
    assert is_refused(two) and is_refused(three)
    assert line_suite.supervisorctl("status", "zfails").code != 0
    result = json.loads((line_suite.place.state_dir / "generations/000002/result.json").read_text())
    assert result["outcome"] == "rolled back"


def test_failed_first_apply_leaves_nothing(line_suite: RealSuite) -> None:
    """When the very first apply fails, no process and no port is left."""
    [one] = free_ports(1)
    line_suite.write(_spec({"one": _service(one)}, hostname="fail.example.test"))
    done = line_suite.run("apply", "--wait", "3s")
    assert done.code == 4, done
    assert not line_suite.processes()
    assert line_suite.generation() is None


def test_taken_port_is_found_before_anything_changes(line_suite: RealSuite) -> None:
    """Exit 73 names the port and the process that has it; the running service keeps its pid and generation."""
    [one] = free_ports(1)
    line_suite.write(_spec({"one": _service(one)}))
    line_suite.ok("apply")
    before = line_suite.pids()
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        taken = foreign.getsockname()[1]
        line_suite.write(_spec({"one": _service(one), "two": _service(taken)}))
        done = line_suite.run("apply")
    assert done.code == 73
    assert str(taken) in done.err and str(os.getpid()) in done.err
    assert line_suite.pids() == before
    assert line_suite.generation() == 1


def test_removed_and_disabled_services_drain(line_suite: RealSuite) -> None:
    """A service that left the spec, or is disabled, takes no new session; the open one goes on."""
    one, two, three = free_ports(3)
    line_suite.write(_spec({"one": _service(one), "two": _service(two), "three": _service(three)}))
    line_suite.ok("apply")
    with LineClient(two) as client, LineClient(three) as other:
        line_suite.write(_spec({"one": _service(one), "two": _service(two, enabled=False)}))
        assert _actions(line_suite) == {"one": "none", "two": "stop", "three": "remove"}
        line_suite.ok("apply")
        assert is_refused(two) and is_refused(three)
        assert client.say("hello") == b"+OK hello\r\n"
        assert other.say("hello") == b"+OK hello\r\n"
        row = line_suite.status()["two"]
        assert (row["desired"], row["state"], row["finishing"]) == ("stopped", "finishing", 1)
        assert "three: removed; sessions that still finish: 1" in line_suite.run("status").err
    eventually(lambda: line_suite.status()["two"]["state"] == "off", "two is off")
    line_suite.ok("status")
    line_suite.write(_spec({"one": _service(one), "two": _service(two)}))
    line_suite.ok("apply")
    with LineClient(two) as client:
        assert client.greeting.startswith(b"+OK")


def test_stop_signal_needs_a_new_section(line_suite: RealSuite) -> None:
    """Another stop signal restarts the program; the plan says that connections are refused meanwhile."""
    [one] = free_ports(1)
    line_suite.write(_spec({"one": _service(one)}))
    line_suite.ok("apply")
    before = line_suite.pids()
    line_suite.write(_spec({"one": _service(one, stop={"signal": "INT"})}))
    [action] = line_suite.run("plan", "--json").json["actions"]
    assert (action["action"], action["effect"]["new_connections"]) == ("restart", "refused")
    line_suite.ok("apply")
    assert line_suite.pids() != before
    line_suite.ok("status")


def test_apply_mends_what_was_killed(line_suite: RealSuite) -> None:
    """With an equal spec, apply brings a killed supervisord back; its services are taken over, not refused."""
    [one] = free_ports(1)
    line_suite.write(_spec({"one": _service(one)}))
    line_suite.ok("apply")
    supervisord = int((line_suite.place.run / "supervisord.pid").read_text())
    with LineClient(one) as client:
        os.kill(supervisord, signal.SIGKILL)
        eventually(lambda: line_suite.run("status").code == 69, "status says that supervisord is gone")
        assert line_suite.status()["one"]["state"] == "running"
        line_suite.ok("apply")
        assert client.say("hello") == b"+OK hello\r\n"
        line_suite.ok("status")
        with LineClient(one) as other:
            assert other.say("hello") == b"+OK hello\r\n"
    assert line_suite.generation() == 1


def test_broken_spec_touches_nothing(line_suite: RealSuite) -> None:
    """A spec with mistakes is refused with 65 while the suite runs on."""
    [one] = free_ports(1)
    line_suite.write(_spec({"one": _service(one)}))
    line_suite.ok("apply")
    before = line_suite.pids()
    line_suite.write(_spec({"one": {"protocol": "pop", "listen": [{"adress": "x"}]}}, hostname="not a name"))
    assert line_suite.run("apply").code == 65
    assert line_suite.pids() == before


def test_down_is_complete_and_idempotent(line_suite: RealSuite) -> None:
    """After down no process is left, even with a session open; a second down is fine; status then says 3."""
    [one] = free_ports(1)
    line_suite.write(_spec({"one": _service(one)}))
    line_suite.ok("apply")
    with LineClient(one) as client:
        line_suite.ok("down", "--drain", "0s")
        assert client.say("hello") in (b"", b"-ERR goodbye\r\n")
    assert not line_suite.processes()
    line_suite.ok("down")
    assert line_suite.run("status").code == 3
    started = line_suite.run("start", "one")
    assert started.code == 69 and "`postroom apply` starts it" in started.err
    line_suite.ok("apply")
    assert line_suite.generation() == 1


def test_down_ends_what_a_killed_supervisord_left(line_suite: RealSuite) -> None:
    """Masters that lost their supervisord are ended too, and their ports are free."""
    [one] = free_ports(1)
    line_suite.write(_spec({"one": _service(one)}))
    line_suite.ok("apply")
    os.kill(int((line_suite.place.run / "supervisord.pid").read_text()), signal.SIGKILL)
    eventually(lambda: line_suite.run("status").code == 69, "status says that supervisord is gone")
    line_suite.ok("down")
    assert not line_suite.processes()
    assert is_refused(one)


def test_what_a_new_supervisord_starts_is_what_the_spec_says_now(line_suite: RealSuite) -> None:
    """Its agent starts services before the apply comes to them: they are of the new generation all the same."""
    one, two, three = free_ports(3)

    def spec(memory: str) -> dict[str, Json]:
        more: dict[str, Json] = {"limits": {"memory": memory}}
        ones = {"one": _service(one, **more), "two": _service(two, depends_on=["one"], **more)}
        return _spec({**ones, "zfree": _service(three, **more)})

    line_suite.write(spec("300MiB"))
    line_suite.ok("apply")
    os.kill(int((line_suite.place.run / "supervisord.pid").read_text()), signal.SIGKILL)
    line_suite.write(spec("400MiB"))
    line_suite.ok("apply", "--wait", "20s")
    assert {name: row["generation"] for name, row in line_suite.status().items()} == dict.fromkeys(
        ("one", "two", "zfree"), 2
    )


def test_apply_that_was_killed_is_finished_by_the_next(line_suite: RealSuite) -> None:
    """An apply killed after the switch began leaves a world that the next apply brings to the end."""
    one, two = free_ports(2)
    line_suite.write(_spec({"one": _service(one)}))
    line_suite.ok("apply")
    line_suite.write(_spec({"one": _service(one, stop={"signal": "INT"}), "two": _service(two)}))
    with line_suite.begin("apply") as going:
        eventually((line_suite.place.state_dir / "generations/000002").exists, "the new generation is written")
        going.kill()
    line_suite.ok("apply")
    line_suite.ok("status")
    assert line_suite.run("plan", "--detailed-exitcode").code == 0
    with LineClient(one) as client, LineClient(two) as other:
        assert client.greeting == other.greeting == b"+OK ready\r\n"
