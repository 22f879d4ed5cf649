"""The FIFO that wakes a spool."""

from pathlib import Path

import pytest

from maillib.embedded.queue import EmbeddedQueue
from maillib.errors import ConfigError
from tests.support.spool_on_disk import put, with_queue


def test_wake_is_a_fifo_or_nothing(tmp_path: Path) -> None:
    """A file in place of the FIFO is refused and not written to."""
    with_queue(tmp_path, put)  # type: ignore[arg-type]
    wake = tmp_path / "spool" / "wake"
    wake.unlink()
    wake.write_bytes(b"")
    with pytest.raises(ConfigError):
        EmbeddedQueue(tmp_path)
    assert wake.read_bytes() == b""
