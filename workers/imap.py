"""The IMAP service: lets owners of mailboxes keep their mail on the server, and read it from many places at once.

Purpose
    One process of it serves any number of connections. It reads and changes the store that the spool delivers to; what
    happens to a mailbox, in whatever process, is told to the clients that have it open.
Standards
    RFC 9051 (IMAP4rev2), RFC 3501 (IMAP4rev1), and the extensions in `docs/rfc.md`.
Security
    Reads from strangers: command lines of at most 8 KiB, literals included; from users 64 KiB, and messages of at most
    `max_message_size`. Log-in only under TLS unless the listener says `cleartext_login`. Needs read and write access to
    the store; opens no connection and starts no program. The private key comes from the master; the worker runs as
    `user`.
Signals
    SIGTERM drains, see `maillib/runtime/program.py`.
Settings
    `maillib/settings/imap.py`.
Diagnostics
    STATE_DIR/log/NAME.log: `login`, `login-failed`, `login-slowed`, `bad-command`.
Bugs
    An account's mailboxes are its own: there are none that several share, and so no ACL.
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
    """Import what IMAP needs, and say how the service is built."""
    import asyncio

    from maillib.embedded.blobs import EmbeddedBlobs
    from maillib.embedded.directory import EmbeddedDirectory
    from maillib.embedded.hints import EmbeddedHints
    from maillib.embedded.index import EmbeddedIndex
    from maillib.embedded.leases import EmbeddedLeases
    from maillib.embedded.penalties import EmbeddedPenalties
    from maillib.runtime.service import ConnectionInfo, ConnectionService
    from maillib.runtime.stream import StreamConnection
    from maillib.sessions.doorkeeper import Doorkeeper
    from maillib.sessions.imap import ImapSession, Terms
    from maillib.sessions.imap_client import Shared
    from maillib.sessions.imap_indexer import Indexer
    from maillib.settings.imap import ImapSettings

    async def build(config: "ServiceConfig", registry: "Registry") -> "Service":
        state_dir = Path(config.state_dir)
        directory = EmbeddedDirectory(state_dir)
        index = EmbeddedIndex(state_dir, directory.account)
        blobs = EmbeddedBlobs(state_dir)
        hints = EmbeddedHints(state_dir)
        penalties = EmbeddedPenalties(state_dir)
        shared = Shared(
            doorkeeper=Doorkeeper(directory, penalties),
            directory=directory,
            index=index,
            blobs=blobs,
            hints=hints,
        )
        leases = EmbeddedLeases(state_dir)
        indexing = asyncio.create_task(Indexer(index, shared.deriving, hints, leases).run())

        def new_connection(info: ConnectionInfo) -> StreamConnection:
            settings = info.settings
            assert isinstance(settings, ImapSettings)
            terms = Terms(
                hostname=config.hostname,
                tls=info.tls,
                starttls=info.tls_context is not None,
                cleartext_login=info.listener.cleartext_login,
                peer_host=info.peer_host,
            )
            return StreamConnection(info, ImapSession(settings, shared, terms), registry)

        async def close() -> None:
            indexing.cancel()
            await asyncio.wait((indexing,))
            await shared.close()
            for engine in (hints, blobs, index, penalties, leases, directory):
                await engine.close()

        refusal = b"* BYE [UNAVAILABLE] too many connections\r\n"
        return ConnectionService(refusal=refusal, new_connection=new_connection, close=close)

    return build


if __name__ == "__main__":
    sys.exit(main(__file__, "imap", load))
