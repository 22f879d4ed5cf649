"""check and doctor from the command line, beside a suite that runs, breaks and ends."""

import os
import signal
import socket
from typing import Any

import pytest

from maillib.settings.base import Json
from tests.support.real_suite import LineClient, RealSuite, eventually, free_ports

pytestmark = pytest.mark.real


def findings(suite: RealSuite, verb: str) -> tuple[int, dict[str, Any]]:
    """Exit code, and what was found by id, without what is so on the host that tests run on."""
    done = suite.run(verb, "--json")
    assert done.json["schema_version"] == 1
    rows = {row["id"]: row for row in done.json["findings"]}
    return done.code, {id_: row for id_, row in rows.items() if id_ not in ("user-root", "sockets-elsewhere")}


def test_from_before_the_first_apply_to_the_end(line_suite: RealSuite) -> None:
    """Each thing that goes wrong is found, said in one line with what to do, and gone once it is mended."""
    first, second = free_ports(2)
    services: dict[str, Json] = {
        name: {"protocol": "pop", "listen": [{"address": f"127.0.0.1:{port}"}]}
        for name, port in (("one", first), ("two", second))
    }
    line_suite.write({"services": services})
    with socket.create_server(("127.0.0.1", second)):
        code, found = findings(line_suite, "check")
        assert code == 73 and f"pid {os.getpid()} (" in found["port-taken"]["message"]
        assert found["port-taken"]["path"] == "services.two.listen[0].address" and found["port-taken"]["line"] == 1
        refused = line_suite.run("apply")
        assert refused.code == 73 and found["port-taken"]["message"] in refused.err
        assert not line_suite.place.state_dir.exists()
        shown = line_suite.run("check")
        assert shown.code == 73 and shown.out.startswith("error    port-taken  ") and "1 error" in shown.err
    assert findings(line_suite, "check") == (0, {})
    assert [*findings(line_suite, "doctor")[1]] == ["not-applied"]
    line_suite.ok("apply")
    assert findings(line_suite, "doctor") == (0, {})

    services["two"], services["one"] = services["one"], services["two"]  # each takes a port of the other
    line_suite.write({"services": services})
    assert findings(line_suite, "check") == (0, {})
    services["two"], services["one"] = services["one"], services["two"]
    line_suite.write({"services": services})

    line_suite.ok("stop", "one", "--reason", "new disk")
    code, found = findings(line_suite, "doctor")
    assert code == 0 and [*found] == ["service-held"] and "new disk" in found["service-held"]["message"]
    line_suite.ok("start", "one")

    agent = int(line_suite.supervisorctl("pid", "agent").out)
    os.kill(agent, signal.SIGSTOP)
    code, found = findings(line_suite, "doctor")
    os.kill(agent, signal.SIGCONT)
    assert code == 69 and "agent-silent" in found

    os.kill(int(line_suite.supervisorctl("pid").out), signal.SIGKILL)
    with LineClient(first) as client:
        code, found = findings(line_suite, "doctor")
        assert code == 69 and "supervisord-silent" in found
        assert client.say("hello") == b"+OK hello\r\n"
    line_suite.ok("apply")
    eventually(lambda: findings(line_suite, "doctor") == (0, {}), "all is mended")
    line_suite.ok("down", "--drain", "0s")
    code, found = findings(line_suite, "doctor")
    assert (code, sorted(found)) == (3, ["service-not-running", "supervisord-down"]), found
