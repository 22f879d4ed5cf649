"""What of the embedded leases shows in their files."""

import asyncio
import stat
from pathlib import Path

import pytest

from maillib.embedded.leases import EmbeddedLeases
from maillib.errors import Conflict


def test_two_objects_exclude_each_other(tmp_path: Path) -> None:
    """Excluding does not depend on sharing one object; closing releases."""

    async def main() -> None:
        first, second = EmbeddedLeases(tmp_path), EmbeddedLeases(tmp_path)
        await first.acquire("x")
        with pytest.raises(Conflict):
            await second.acquire("x")
        await first.close()
        await second.acquire("x")
        await second.close()

    asyncio.run(main())


@pytest.mark.parametrize(("content", "fencing"), [(b"", 1), (b"00000000000000000041", 42), (b"\0" * 20, 1)])
def test_number_of_the_next_lease(tmp_path: Path, content: bytes, fencing: int) -> None:
    """The number goes on from the file; a file that a power cut emptied begins anew, as nobody holds a lease then."""

    async def main() -> None:
        leases = EmbeddedLeases(tmp_path)
        path = tmp_path / "leases" / "x.lease"
        path.write_bytes(content)
        assert (await leases.acquire("x")).fencing == fencing
        await leases.close()
        assert path.exists()
        assert stat.S_IMODE(path.stat().st_mode) & 0o022 == 0

    asyncio.run(main())


def test_too_long_a_name_is_our_mistake(tmp_path: Path) -> None:
    """A name that would not fit a file name is refused before anything is opened."""

    async def main() -> None:
        leases = EmbeddedLeases(tmp_path)
        with pytest.raises(ValueError, match="longer than"):
            await leases.acquire("x" * 201)
        assert list((tmp_path / "leases").iterdir()) == []
        await leases.close()

    asyncio.run(main())
