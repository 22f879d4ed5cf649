"""A worker script as those in `workers/`, with the least protocol: each line comes back, USER logs in, GARBLE
makes the worker say nonsense to its master, QUIT ends.

`FAIL` in the hostname makes the worker fail at its start, as a service does whose store cannot be opened.
"""

import asyncio
import os
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from maillib.errors import ConfigError
from maillib.runtime.cohort import CHANNEL_FD
from maillib.runtime.program import main


async def build(config, registry):  # type: ignore[no-untyped-def]
    from maillib.dialog import Next
    from maillib.runtime.stream import StreamConnection

    if "fail" in config.hostname:
        raise ConfigError("told to fail")

    class Lines:
        user = None
        doing = "waiting"
        timeout_s = 60.0
        received = b""

        async def greet(self, output):  # type: ignore[no-untyped-def]
            await output.send(b"+OK ready\r\n")
            return Next.NEED_DATA

        def receive(self, data):  # type: ignore[no-untyped-def]
            self.received += data

        async def advance(self, output):  # type: ignore[no-untyped-def]
            line, end, rest = self.received.partition(b"\n")
            if not end:
                return Next.NEED_DATA
            self.received = rest
            if line.startswith(b"USER"):
                self.user = "somebody"
            if line.startswith(b"GARBLE"):
                with socket.socket(fileno=os.dup(CHANNEL_FD)) as channel:
                    socket.send_fds(channel, [b"\xff"], [0] * 16)
            await output.send(b"+OK " + line.strip() + b"\r\n")
            if line.startswith(b"STLS"):
                return Next.START_TLS
            return Next.CLOSE if line.startswith(b"QUIT") else Next.AGAIN

        def tls_started(self):  # type: ignore[no-untyped-def]
            self.received = b""

        def goodbye(self):  # type: ignore[no-untyped-def]
            return b"-ERR goodbye\r\n"

        def timed_out(self):  # type: ignore[no-untyped-def]
            return b""

        async def closed(self):  # type: ignore[no-untyped-def]
            pass

    class LineService:
        refusal = b"-ERR too many connections\r\n"

        def protocol(self, info):  # type: ignore[no-untyped-def]
            return StreamConnection(info, Lines(), registry)

        async def run(self, stopping: asyncio.Event) -> None:
            await stopping.wait()

        async def close(self) -> None:
            pass

    return LineService()


if __name__ == "__main__":
    sys.exit(main(__file__, "pop", lambda: build))
