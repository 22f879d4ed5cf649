"""What `strace -f -xx` has written, as calls that begin and end. Text in, values out; no files.

A call takes effect somewhere between its beginning and its end, and calls of several threads overlap: the two are
events of their own. Strings are read in hexadecimal (`-xx`), so that no octet of a message can look like syntax.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

CALLS = (
    "open,openat,creat,close,dup,dup2,dup3,fcntl,write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,sendfile,"
    "copy_file_range,splice,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,mknod,mknodat,"
    "symlink,symlinkat,fsync,fdatasync,sync,syncfs,sync_file_range,ftruncate,truncate,fallocate,utimensat,"
    "clone,clone3,fork,vfork"
)
"""Those that change a file, a name or a table of descriptors, make any of it durable, or say something to a peer."""

OPTIONS = ("-f", "--seccomp-bpf", "-qq", "-xx", "-s", "1000000", "-e", "signal=none", "-e", f"trace={CALLS}")

_BEGINNING = re.compile(r"(\d+) +(\w+)\((.*)$", re.DOTALL)
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)$", re.DOTALL)
_RESULT = re.compile(r"\) += (-?\d+|\?)")
_UNFINISHED = " <unfinished ...>"
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_BUFFER = re.compile(r'iov_base="((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


class TraceError(Exception):
    """The trace says something that this reader, or the model of the disk, cannot understand."""


@dataclass(eq=False, slots=True)
class Call:
    """One system call. Its result is known at its end only."""

    pid: int
    """Of the thread."""
    name: str
    text: str
    """The arguments as strace writes them."""
    began: int
    """Number of the line; so is `ended`."""
    ended: int = -1
    result: int = -1
    """Negative: it failed, or never returned."""

    @property
    def arguments(self) -> list[str]:
        return _split(self.text)

    def number(self, place: int) -> int:
        """An argument that is a number; -1 for what is none (AT_FDCWD)."""
        text = self.arguments[place]
        return int(text, 0) if re.fullmatch(r"-?\d+|0x[0-9a-f]+", text) else -1

    def octets(self, place: int) -> bytes:
        return _octets(_STRING.fullmatch(self.arguments[place]), self)

    def words(self) -> bytes:
        """What is said to a peer or a terminal; its beginning, when there is much of it."""
        match = _STRING.search(self.text)
        return b"" if match is None else bytes.fromhex(match[1].replace("\\x", ""))

    def path(self, place: int) -> str:
        return self.octets(place).decode("utf-8", "surrogateescape")

    def buffers(self) -> bytes:
        """What a call with a vector of buffers was given, in one piece."""
        return b"".join(_octets(match, self) for match in _BUFFER.finditer(self.text))


@dataclass(frozen=True, slots=True)
class Event:
    """Ends come in the order in which the calls took effect, as nearly as anybody outside the kernel can tell."""

    when: Literal["begin", "end"]
    call: Call


def events(lines: Iterable[str]) -> Iterator[Event]:
    """Raises TraceError."""
    unfinished: dict[int, Call] = {}
    for number, line in enumerate(lines):
        if match := _RESUMED.match(line):
            pid = int(match[1])
            call = unfinished.pop(pid, None)
            if call is None or call.name != match[2]:
                raise TraceError(f"line {number + 1}: {match[2]} of {pid} ends, but never began")
            call.text += match[3]
            yield _end(call, number)
        elif match := _BEGINNING.match(line):
            call = Call(int(match[1]), match[2], match[3].rstrip("\n"), number)
            if call.text.endswith(_UNFINISHED):
                call.text = call.text.removesuffix(_UNFINISHED)
                unfinished[call.pid] = call
                yield Event("begin", call)
            else:
                end = _end(call, number)
                yield Event("begin", call)
                yield end
        elif line.strip():
            raise TraceError(f"line {number + 1}: {line[:100]}")


def parents(lines: Iterable[str]) -> dict[int, tuple[int, bool]]:
    """Of each thread or process that was made: who made it, and whether it shares that one's descriptors.

    A child may act before the call that made it has ended, so this has to be known beforehand.
    """
    found: dict[int, tuple[int, bool]] = {}
    for event in events(lines):
        call = event.call
        if event.when == "end" and call.name in ("clone", "clone3", "fork", "vfork") and call.result > 0:
            found[call.result] = call.pid, "CLONE_FILES" in call.text
    return found


def _end(call: Call, number: int) -> Event:
    """Take the result from the text."""
    match = list(_RESULT.finditer(call.text))[-1:]
    if not match:
        raise TraceError(f"line {number + 1}: {call.name} without a result")
    call.text = call.text[: match[0].start()]
    call.result = -1 if match[0][1] == "?" else int(match[0][1])
    call.ended = number
    return Event("end", call)


def _split(text: str) -> list[str]:
    """At the commas that are in no bracket. Strings are hexadecimal: they contain neither."""
    parts, depth, begin = [], 0, 0
    for place, character in enumerate(text):
        if character in "[{(":
            depth += 1
        elif character in ")}]":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(text[begin:place].strip())
            begin = place + 1
    return [*parts, text[begin:].strip()]


def _octets(match: re.Match[str] | None, call: Call) -> bytes:
    if match is None or match[2]:
        raise TraceError(f"line {call.began + 1}: a string of {call.name} is missing or was cut")
    return bytes.fromhex(match[1].replace("\\x", ""))
