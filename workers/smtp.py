"""The SMTP service: takes messages from other servers (role mx) and from our own users (role submission).

Purpose
    One process of it serves any number of connections. A message is checked while it comes in and handed to the queue;
    what happens to it then is the spool's work.
Standards
    RFC 5321; extensions: RFC 1870 (SIZE), RFC 2034 and RFC 3463 (enhanced status codes), RFC 2920 (PIPELINING),
    RFC 3207 (STARTTLS), RFC 4954 (AUTH PLAIN, LOGIN), RFC 6152 (8BITMIME), RFC 6531 (SMTPUTF8); RFC 6409 (submission).
Security
    Reads from strangers: command lines, at most 2048 octets each, and messages. Relays for nobody who has not logged
    in; log-in only under TLS unless the listener says `cleartext_login`. Writes to the spool, the log and the record of
    failed log-ins, reads the directory; opens no connection and starts no program. The private key comes from the
    master; the worker runs as `user`.
Signals
    SIGTERM drains, see `maillib/runtime/program.py`.
Settings
    `maillib/settings/smtp.py`.
Diagnostics
    STATE_DIR/log/NAME.log: `login`, `login-failed`, `login-slowed`, `bad-command`, `rejected`, `accepted`.
Bugs
    Octets over 127 are taken without BODY=8BITMIME, and lines of any length: common clients send both. A NUL in a
    message is kept as it came.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:  # started as a file, not with -m
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from maillib.runtime.program import main

if TYPE_CHECKING:
    from maillib.runtime.service import Build, Registry, Service
    from maillib.settings.service import ServiceConfig


def load() -> "Build":
    """Import what SMTP needs, and say how the service is built."""
    from maillib.embedded.directory import EmbeddedDirectory
    from maillib.embedded.penalties import EmbeddedPenalties
    from maillib.embedded.queue import EmbeddedQueue
    from maillib.runtime.service import ConnectionInfo, ConnectionService
    from maillib.runtime.stream import StreamConnection
    from maillib.sessions.doorkeeper import Doorkeeper
    from maillib.sessions.smtp import SmtpSession
    from maillib.sessions.smtp_transaction import Terms
    from maillib.settings.smtp import SmtpSettings

    async def build(config: "ServiceConfig", registry: "Registry") -> "Service":
        state_dir = Path(config.state_dir)
        directory = EmbeddedDirectory(state_dir)
        queue = EmbeddedQueue(state_dir)
        penalties = EmbeddedPenalties(state_dir)
        doorkeeper = Doorkeeper(directory, penalties)

        def new_connection(info: ConnectionInfo) -> StreamConnection:
            settings = info.settings
            assert isinstance(settings, SmtpSettings)
            terms = Terms(
                hostname=config.hostname,
                submission=info.listener.role == "submission",
                tls=info.tls,
                starttls=info.tls_context is not None,
                cleartext_login=info.listener.cleartext_login,
                peer_host=info.peer_host,
            )
            return StreamConnection(info, SmtpSession(settings, directory, queue, doorkeeper, terms), registry)

        async def close() -> None:
            for engine in (queue, penalties, directory):
                await engine.close()

        refusal = f"421 4.7.0 {config.hostname} too many connections\r\n".encode()
        return ConnectionService(refusal=refusal, new_connection=new_connection, close=close)

    return build


if __name__ == "__main__":
    sys.exit(main(__file__, "smtp", load))
