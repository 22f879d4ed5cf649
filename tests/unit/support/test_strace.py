"""The reader of strace's text."""

import pytest

from tests.support.disk.strace import Event, TraceError, events, parents


def hexadecimal(text: str) -> str:
    return '"' + "".join(f"\\x{octet:02x}" for octet in text.encode()) + '"'


def names(found: list[Event]) -> list[tuple[str, int, str]]:
    return [(event.when, event.call.pid, event.call.name) for event in found]


def test_a_call_on_one_line() -> None:
    """It begins and ends at once; its arguments and result are values."""
    begin, end = events([f"7  openat(AT_FDCWD, {hexadecimal('/a,b(c')}, O_WRONLY|O_CREAT, 0640) = 5"])
    assert (begin.when, end.when) == ("begin", "end")
    call = end.call
    assert call.path(1) == "/a,b(c"
    assert call.arguments[2] == "O_WRONLY|O_CREAT"
    assert (call.number(0), call.result) == (-1, 5)


def test_calls_of_two_threads_overlap() -> None:
    """An unfinished call ends where it is resumed, whatever others do between."""
    found = list(events(["7  fsync(5 <unfinished ...>", "8  close(4)  = 0", "7  <... fsync resumed>)             = 0"]))
    assert names(found) == [("begin", 7, "fsync"), ("begin", 8, "close"), ("end", 8, "close"), ("end", 7, "fsync")]
    assert (found[0].call.began, found[0].call.ended) == (0, 2)


def test_a_failed_call() -> None:
    """Its result is negative; so is that of one that never returned."""
    failed, lost = [
        event.call
        for event in events(["7 unlink(" + hexadecimal("/x") + ") = -1 ENOENT (No such file)", "7 fsync(3) = ?"])
        if event.when == "end"
    ]
    assert (failed.result, lost.result) == (-1, -1)


def test_buffers_of_a_vector() -> None:
    """What sendmsg and writev were given comes as one piece."""
    vector = f"[{{iov_base={hexadecimal('250 ')}, iov_len=4}}, {{iov_base={hexadecimal('ok')}, iov_len=2}}]"
    (_, end) = events([f"7 sendmsg(9, {{msg_name=NULL, msg_iov={vector}, msg_iovlen=2}}, 0) = 6"])
    assert end.call.buffers() == b"250 ok"


def test_who_made_whom() -> None:
    """A thread shares the descriptors of who made it; a process has its own."""
    lines = [
        "7 clone3({flags=CLONE_VM|CLONE_FILES|CLONE_THREAD, stack=0x1}, 88 <unfinished ...>",
        "8 close(3) = 0",
        "7 <... clone3 resumed> => {parent_tid=[8]}, 88) = 8",
        "7 clone(child_stack=NULL, flags=SIGCHLD) = 9",
    ]
    assert parents(lines) == {8: (7, True), 9: (7, False)}


@pytest.mark.parametrize("line", ["7  <... fsync resumed>) = 0", "nonsense", "7 fsync(3)"])
def test_what_is_not_understood_is_said(line: str) -> None:
    """A trace that this reader does not understand proves nothing, and is an error."""
    with pytest.raises(TraceError):
        list(events([line]))


def test_a_string_that_was_cut() -> None:
    """So is a string of which strace has not written everything."""
    (_, end) = events(['7 write(3, "\\x61\\x62"..., 10) = 10'])
    with pytest.raises(TraceError):
        end.call.octets(1)
