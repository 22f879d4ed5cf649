"""What `logs` prints."""

from itertools import islice
from pathlib import Path

from orchestrator import tail


def test_the_end_of_a_log(tmp_path: Path) -> None:
    """The last lines only; octets that are no text hide nothing."""
    log = tmp_path / "pop.log"
    log.write_bytes(b"\xff\n" + b"".join(b"%d\n" % number for number in range(tail.LINES)))
    found = list(tail.lines(log, follow=False))
    assert (found[0], found[-1], len(found)) == ("0\n", f"{tail.LINES - 1}\n", tail.LINES)


def test_what_is_added_is_followed_across_a_rotation(tmp_path: Path) -> None:
    """Nothing is lost of the old file, and the new one is read from its beginning."""
    log = tmp_path / "pop.log"
    log.write_text("first\n")
    lines = tail.lines(log, follow=True)
    assert next(lines) == "first\n"
    with log.open("a") as writer:
        print("second", file=writer, flush=True)
        assert next(lines) == "second\n"
        log.rename(tmp_path / "pop.log.1")
        print("third", file=writer, flush=True)
        log.write_text("fourth\nfifth\n")
    assert list(islice(lines, 3)) == ["third\n", "fourth\n", "fifth\n"]
