"""Reads dialog scripts and plays them against a wire. The form of a script is in README.md beside this file."""

import asyncio
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from maillib.dialog import Next, StreamSession
from maillib.errors import PeerError

PATIENCE_S = 20.0

FOLDER = Path(__file__).parent

_REPEAT = re.compile(r"<(.)\*(\d+)>")
_LINE = re.compile(r"(C:|C>|S:|!|@) ?(.*)")


@dataclass(frozen=True, slots=True)
class Step:
    place: str
    """File and line, for the message of a failure."""
    kind: str
    """`C:`, `C>`, `S:` or `!`."""
    text: str


@dataclass(frozen=True, slots=True)
class Script:
    name: str
    preparations: list[tuple[str, str]]
    steps: list[Step]


class Wire(Protocol):
    """The client's end of a connection."""

    async def send(self, data: bytes) -> None: ...

    async def line(self) -> bytes:
        """The next line with its end; what there is at the end of the stream."""

    async def start_tls(self) -> None: ...

    async def half_close(self) -> None: ...

    async def hang_up(self) -> None: ...


def scripts(protocol: str) -> list[Script]:
    """All scripts of a protocol's folder, by name."""
    return [parse(path) for path in sorted((FOLDER / protocol).glob("*.txt"))]


def parse(path: Path) -> Script:
    preparations: list[tuple[str, str]] = []
    steps: list[Step] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        assert match, f"{path.name}:{number}: {line!r} is no line of a script"
        kind, text = match[1], _REPEAT.sub(lambda m: m[1] * int(m[2]), match[2])
        if kind == "@":
            word, _, rest = text.partition(" ")
            preparations.append((word, rest))
        else:
            steps.append(Step(f"{path.name}:{number}", kind, text))
    return Script(path.stem, preparations, steps)


async def play(script: Script, wire: Wire) -> None:
    """Raises AssertionError that names the line of the script that did not come true."""
    try:
        for step in script.steps:
            async with asyncio.timeout(PATIENCE_S):
                await _play(step, wire)
    finally:
        await wire.hang_up()


async def _play(step: Step, wire: Wire) -> None:
    match step.kind, step.text:
        case "C:", text:
            await wire.send(text.encode() + b"\r\n")
        case "C>", text:
            await wire.send(text.encode().decode("unicode_escape").encode("latin-1"))
        case "S:", text:
            line = await wire.line()
            assert matches(text, line), f"{step.place}: expected {text!r}, the server said {line!r}"
        case "!", "tls":
            await wire.start_tls()
        case "!", "half-close":
            await wire.half_close()
        case "!", "closed":
            rest = await wire.line()
            assert rest == b"", f"{step.place}: expected the end, the server said {rest!r}"
        case kind, text:
            raise AssertionError(f"{step.place}: {kind} {text} is unknown")


def matches(expected: str, line: bytes) -> bool:
    pattern = ".*".join(re.escape(part) for part in expected.split("<any>"))
    return re.fullmatch(pattern.encode() + b"\r\n", line) is not None


class SessionWire:
    """A session without a socket. `cut` splits what the client sends into the pieces in which it arrives."""

    def __init__(self, session: StreamSession, cut: Callable[[bytes], list[bytes]] = lambda data: [data]) -> None:
        self._session = session
        self._cut = cut
        self._output = bytearray()
        self._step: Next | None = None

    async def send(self, data: bytes) -> None:
        await self._greet()
        for piece in self._cut(data):
            if self._step in (Next.CLOSE, Next.START_TLS):
                return  # what comes in clear behind the command that starts TLS is dropped
            self._session.receive(piece)
            self._step = Next.AGAIN
            while self._step is Next.AGAIN:
                try:
                    self._step = await self._session.advance(_Collector(self._output))
                except PeerError:
                    self._step = Next.CLOSE

    async def line(self) -> bytes:
        await self._greet()
        end = self._output.find(b"\n") + 1 or len(self._output)
        line = bytes(self._output[:end])
        del self._output[:end]
        if not line:
            assert self._step is Next.CLOSE, "the server is silent"
        return line

    async def start_tls(self) -> None:
        assert self._step is Next.START_TLS
        self._session.tls_started()
        self._step = Next.NEED_DATA

    async def half_close(self) -> None:
        self._step = Next.CLOSE

    async def hang_up(self) -> None:
        await self._session.closed()

    async def _greet(self) -> None:
        if self._step is None:
            self._step = await self._session.greet(_Collector(self._output))


class _Collector:
    """A carrier without a connection."""

    cipher = None

    def __init__(self, into: bytearray) -> None:
        self._into = into

    async def send(self, data: bytes) -> None:
        self._into += data

    async def pause(self, delay_s: float) -> None:
        pass

    def wake(self) -> None:
        pass


class SocketWire:
    """A real connection to a live port."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tls: ssl.SSLContext | None = None
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._tls = tls

    @classmethod
    async def connect(cls, host: str, port: int, tls: ssl.SSLContext | None = None) -> "SocketWire":
        """`tls` is the client's context for `! tls`."""
        return cls(*await asyncio.open_connection(host, port), tls)

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def line(self) -> bytes:
        return await self._reader.readline()

    async def start_tls(self) -> None:
        assert self._tls is not None, "no context for TLS"
        await self._writer.start_tls(self._tls, server_hostname="localhost")

    async def half_close(self) -> None:
        self._writer.write_eof()

    async def hang_up(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            pass  # the server was first
