"""The POP service: lets owners of mailboxes fetch their mail from INBOX.

Purpose
    One process of it serves any number of connections, each an exclusive session with one maildrop. It reads the
    store that the spool delivers to; messages are removed only when a session ends with QUIT.
Standards
    RFC 1939 (without APOP, which needs passwords in clear), RFC 2449, RFC 2595, RFC 3206, RFC 4616, RFC 5034, RFC 6856,
    RFC 6858.
Security
    Reads from strangers: command lines, at most 4096 octets each. Log-in only under TLS unless the listener says
    `cleartext_login`. Needs read and write access to the store; opens no connection and starts no program. The private
    key comes from the master; the worker runs as `user`.
Signals
    SIGTERM drains, see `maillib/runtime/program.py`.
Settings
    `maillib/settings/pop.py`.
Diagnostics
    STATE_DIR/log/NAME.log: `login`, `login-failed`, `login-slowed`, `maildrop-in-use`, `maildrop-taken-over`,
    `bad-command`, `retrieved`, `expunged`.
Bugs
    A message stored with a CR or LF alone in it (SMTP takes none) is sent with CRLF instead and is then longer than
    LIST says. So may be one with UTF-8 in its header for a client that has not said UTF8 (RFC 6858 §4 allows that).
    Only INBOX can be reached.
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
    """Import what POP needs, and say how the service is built."""
    from maillib.embedded.blobs import EmbeddedBlobs
    from maillib.embedded.directory import EmbeddedDirectory
    from maillib.embedded.index import EmbeddedIndex
    from maillib.embedded.leases import EmbeddedLeases
    from maillib.embedded.penalties import EmbeddedPenalties
    from maillib.runtime.service import ConnectionInfo, ConnectionService
    from maillib.runtime.stream import StreamConnection
    from maillib.sessions.doorkeeper import Doorkeeper
    from maillib.sessions.listing import Listings
    from maillib.sessions.pop import PopSession, Shared, Terms
    from maillib.settings.pop import PopSettings

    async def build(config: "ServiceConfig", registry: "Registry") -> "Service":
        state_dir = Path(config.state_dir)
        directory = EmbeddedDirectory(state_dir)
        index = EmbeddedIndex(state_dir, directory.account)
        blobs = EmbeddedBlobs(state_dir)
        leases = EmbeddedLeases(state_dir)
        penalties = EmbeddedPenalties(state_dir)
        shared = Shared(
            doorkeeper=Doorkeeper(directory, penalties),
            index=index,
            listings=Listings(index),
            blobs=blobs,
            leases=leases,
        )

        def new_connection(info: ConnectionInfo) -> StreamConnection:
            settings = info.settings
            assert isinstance(settings, PopSettings)
            terms = Terms(
                hostname=config.hostname,
                tls=info.tls,
                stls=info.tls_context is not None,
                cleartext_login=info.listener.cleartext_login,
                peer_host=info.peer_host,
            )
            return StreamConnection(info, PopSession(settings, shared, terms), registry)

        async def close() -> None:
            for engine in (leases, blobs, index, penalties, directory):
                await engine.close()

        refusal = b"-ERR [SYS/TEMP] too many connections\r\n"
        return ConnectionService(refusal=refusal, new_connection=new_connection, close=close)

    return build


if __name__ == "__main__":
    sys.exit(main(__file__, "pop", load))
