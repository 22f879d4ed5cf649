"""The names of aiosmtpd, and of asyncio below it, that `maillib/runtime/smtp.py` depends on beyond their documentation.

When one of these fails after an upgrade: read that module's docstring and the new code, then change both.
"""

import asyncio
import hashlib
import inspect
from collections.abc import Callable

import aiosmtpd
import pytest
from aiosmtpd.smtp import SMTP


def test_version() -> None:
    """The version is the one whose code was read."""
    assert aiosmtpd.__version__ == "1.4.6"


@pytest.mark.parametrize(
    ("method", "digest"),
    [
        (SMTP.connection_made, "77a45df5065bba34"),
        (SMTP.connection_lost, "d3bf6349bc3c25c1"),
        (SMTP.eof_received, "baab5aaf93160933"),
        (SMTP.smtp_STARTTLS, "6565289f4131fa13"),
        (SMTP.push, "15f4f1de5e30c337"),
        (SMTP._timeout_cb, "10a7351f9bec2818"),
        (SMTP._cb_client_connected, "a73e95bb7f362ab9"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_code_is_the_code_that_was_read(method: Callable[..., object], digest: str) -> None:
    """What we inherit, override or rely on has not changed by a letter."""
    assert hashlib.sha256(inspect.getsource(method).encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("name", ["_handle_client", "_timeout_cb"])
def test_overridden_name_exists(name: str) -> None:
    """What we override is still called by that name."""
    assert callable(getattr(SMTP, name))


def test_stream_reader_keeps_its_input_in_a_buffer() -> None:
    """asyncio's reader has a bytearray that may be looked at and filled from the front."""

    async def main() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(b"end")
        buffer: bytearray = reader._buffer  # type: ignore[attr-defined]
        buffer[:0] = b"front "
        assert await reader.read(100) == b"front end"

    asyncio.run(main())
