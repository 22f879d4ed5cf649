"""An IMAP client for tests: it reads whatever a server says, literals included, and keeps none of it to itself."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Value = bytes | list["Value"] | None
"""An atom or string, a list, NIL."""

PATIENCE_S = 30.0

_LITERAL = re.compile(rb"~?\{([0-9]+)\}\r\n\Z")
_TOKEN = re.compile(rb'[()]|"(?:[^"\\]|\\.)*"|~?\{[0-9]+\}\r\n|(?:[^\s()"\[]|\[[^\]]*\](?:<[0-9]+>)?)+')


class ProtocolError(AssertionError):
    """The server said what it must not say."""


@dataclass(slots=True)
class Answer:
    """To one command."""

    status: str
    """`OK`, `NO`, `BAD`."""
    text: str
    """With the response code."""
    untagged: list[list[Value]] = field(default_factory=list)

    @property
    def code(self) -> list[str]:
        """The words of the response code; empty: there is none."""
        return self.text[1 : self.text.index("]")].split() if self.text.startswith("[") else []

    def all(self, name: bytes) -> list[list[Value]]:
        """Untagged responses of a kind, with what stands before (`* 3 EXISTS`) or behind it."""
        return [one for one in self.untagged if name in one[:2]]


def parse(response: bytes) -> list[Value]:
    """The values of a response with its literals in place, without `* ` and the last line's end."""
    stack: list[list[Value]] = [[]]
    at = 0
    while at < len(response):
        if response[at] in b" \r\n":
            at += 1
            continue
        found = _TOKEN.match(response, at)
        if found is None:
            raise ProtocolError(f"{response[at : at + 50]!r} in {response[:200]!r}")
        token, at = found[0], found.end()
        if token == b"(":
            stack.append([])
        elif token == b")":
            if len(stack) < 2:
                raise ProtocolError(f"a ) too many: {response[:200]!r}")
            whole = stack.pop()
            stack[-1].append(whole)
        elif token.endswith(b"}\r\n"):
            octets = int(token[token.index(b"{") + 1 : -3])
            stack[-1].append(response[at : at + octets])
            at += octets
        elif token.startswith(b'"'):
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", token[1:-1]))
        else:
            stack[-1].append(None if token.upper() == b"NIL" else token)
    if len(stack) > 1:
        raise ProtocolError(f"a ( too many: {response[:200]!r}")
    return stack[0]


class ImapClient:
    """One connection; the greeting has been read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._number = 0
        self.hear: Callable[[list[Value]], None] = lambda untagged: None
        """Called with each untagged response, in order."""
        self.doing = ""
        """The command that is not answered yet."""

    @classmethod
    async def connect(cls, port: int, context: ssl.SSLContext | None = None) -> "ImapClient":
        name = None if context is None else "localhost"
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=name, limit=1 << 24
        )
        client = cls(reader, writer)
        try:
            greeting = await client.response()
            if not greeting.startswith(b"* OK"):
                raise ProtocolError(f"greeted with {greeting!r}")
        except BaseException:
            client.cut()
            raise
        return client

    async def response(self) -> bytes:
        """The next one as it came, with its literals. Raises ConnectionError at the end."""
        async with asyncio.timeout(PATIENCE_S):
            whole = line = await self._reader.readline()
            while found := _LITERAL.search(line):
                whole += await self._reader.readexactly(int(found[1]))
                line = await self._reader.readline()
                whole += line
        if not whole.endswith(b"\r\n"):
            raise ConnectionError(f"the connection has ended: {whole[-200:]!r}")
        return whole

    async def command(self, text: str, *literals: bytes) -> Answer:
        """`{}` in the text stands for the literals one after the other, each sent when the server says go on."""
        self._number += 1
        tag = f"t{self._number}"
        self.doing = text
        answer = Answer("", "")
        parts = text.split("{}")
        line = f"{tag} {parts[0]}".encode()
        for literal, part in zip(literals, parts[1:], strict=True):
            self._writer.write(b"%s{%d}\r\n" % (line, len(literal)))
            if not await self._until_go_ahead(tag, answer):
                return answer
            line = literal + part.encode()
        self._writer.write(line + b"\r\n")
        await self._until_tagged(tag, answer)
        self.doing = ""
        return answer

    async def ok(self, text: str, *literals: bytes) -> Answer:
        answer = await self.command(text, *literals)
        if answer.status != "OK":
            raise ProtocolError(f"{text}: {answer.status} {answer.text}")
        return answer

    async def idle(self, until: Callable[[], bool], timeout_s: float) -> None:
        """IDLE until `until` says so after a response, or for so long."""
        self._number += 1
        tag = f"t{self._number}"
        self.doing = "IDLE"
        self._writer.write(f"{tag} IDLE\r\n".encode())
        answer = Answer("", "")
        if not await self._until_go_ahead(tag, answer):
            raise ProtocolError(f"IDLE: {answer}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not until():
                    await self._one(tag, answer)
        self._writer.write(b"DONE\r\n")
        await self._until_tagged(tag, answer)
        self.doing = ""

    async def _until_go_ahead(self, tag: str, answer: Answer) -> bool:
        while True:
            response = await self.response()
            if response.startswith(b"+"):
                return True
            if self._take(tag, response, answer):
                return False

    async def _until_tagged(self, tag: str, answer: Answer) -> None:
        while not await self._one(tag, answer):
            pass

    async def _one(self, tag: str, answer: Answer) -> bool:
        return self._take(tag, await self.response(), answer)

    def _take(self, tag: str, response: bytes, answer: Answer) -> bool:
        """Whether that was the last of it."""
        if response.startswith(b"* "):
            word = response[2:].split(None, 1)[0].upper()
            is_status = word in (b"OK", b"NO", b"BAD", b"BYE", b"PREAUTH")
            untagged: list[Value] = [word, response[2:].strip()] if is_status else parse(response[2:])
            answer.untagged.append(untagged)
            self.hear(untagged)
            return False
        found, _, rest = response.decode().rstrip("\r\n").partition(" ")
        if found != tag:
            raise ProtocolError(f"{response!r} while {self.doing}")
        answer.status, _, answer.text = rest.partition(" ")
        return True

    async def log_in(self, name: str, password: str) -> None:
        await self.ok(f'LOGIN "{name}" "{password}"')

    def cut(self) -> None:
        """As if the cable had been pulled."""
        self._writer.transport.abort()

    async def log_out(self) -> None:
        await self.ok("LOGOUT")
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def pairs(values: Value) -> Iterator[tuple[bytes, Value]]:
    """Names and values of a list like that of FETCH."""
    assert isinstance(values, list)
    for name, value in zip(values[::2], values[1::2], strict=True):
        assert isinstance(name, bytes)
        yield name.upper(), value


def numbers(uid_set: bytes) -> Iterator[int]:
    """Of a sequence set without `*`."""
    for part in uid_set.split(b","):
        first, _, last = part.partition(b":")
        ends = sorted((int(first), int(last or first)))
        yield from range(ends[0], ends[1] + 1)
