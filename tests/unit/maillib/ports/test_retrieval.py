"""Where retrieval entries fetch mail."""

import pytest

from maillib.errors import PermanentError
from maillib.ports.retrieval import Server


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("127.0.0.1:1110", Server("127.0.0.1", 1110)),
        ("Pop.Elsewhere.TEST.:995", Server("pop.elsewhere.test", 995)),
        ("münchen.test:110", Server("xn--mnchen-3ya.test", 110)),
        ("[2001:DB8::1]:110", Server("2001:db8::1", 110)),
        ("localhost:65535", Server("localhost", 65_535)),
    ],
)
def test_servers(text: str, server: Server) -> None:
    """A name or an address, and a port; what is shown is read again."""
    assert Server.parse(text) == server
    assert Server.parse(str(server)) == server


@pytest.mark.parametrize(
    "text", ["", ":110", "a.test", "a.test:", "a.test:0", "a.test:65536", "a.test:+1", "::1:110", "[127.0.0.1]:110",
             "[::1%eth0]:110", "1.2.3:110", "256.1.1.1:110", "a b:110", "a.test:١١٠"],
)  # fmt: skip
def test_no_servers(text: str) -> None:
    """Whatever else is refused, with what is allowed."""
    with pytest.raises(PermanentError, match=r"allowed: HOST:PORT"):
        Server.parse(text)
