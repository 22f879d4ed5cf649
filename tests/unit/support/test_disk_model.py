"""The model of a disk: what is certain after which calls."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.disk.model import Disk
from tests.support.disk.strace import events


def octets(text: str) -> str:
    return '"' + "".join(f"\\x{octet:02x}" for octet in text.encode()) + '"'


class Traced:
    """A disk with a folder `a` and a folder `b`, and calls in one process written shortly."""

    def __init__(self, root: Path) -> None:
        for name in ("a", "b"):
            (root / name).mkdir()
        self.root = root
        self.disk = Disk(root, root, ("a", "b"), {})
        self._line = 0

    def call(self, text: str) -> None:
        for event in events([f"1 {text}"]):
            event.call.began = event.call.ended = self._line
            self._line += 1
            (self.disk.begin if event.when == "begin" else self.disk.end)(event.call)

    def create(self, path: str, fd: int = 3) -> None:
        self.call(f"open({octets(f'{self.root}/{path}')}, O_WRONLY|O_CREAT, 0600) = {fd}")

    def write(self, text: str, fd: int = 3) -> None:
        self.call(f"write({fd}, {octets(text)}, {len(text)}) = {len(text)}")

    def sync(self, fd: int = 3) -> None:
        self.call(f"fsync({fd}) = 0")

    def sync_folder(self, path: str) -> None:
        self.call(f"open({octets(f'{self.root}/{path}')}, O_RDONLY|O_DIRECTORY) = 9")
        self.sync(9)
        self.call("close(9) = 0")

    def two(self, name: str, source: str, target: str) -> None:
        self.call(f"{name}({octets(f'{self.root}/{source}')}, {octets(f'{self.root}/{target}')}) = 0")

    def one(self, name: str, path: str) -> None:
        self.call(f"{name}({octets(f'{self.root}/{path}')}) = 0")

    def outcomes(self) -> set[tuple[str, ...]]:
        """The files that may be there after a power cut now."""
        found = set()
        for names in self.disk.outcomes(self.disk.pending):
            paths = {path for inode in names.values() for path in self.disk.paths_of(inode, names)}
            found.add(tuple(sorted(path for path in paths if path not in ("a", "b"))))
        return found


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Traced]:
    yield Traced(tmp_path)


def test_octets_need_a_sync_of_their_file(traced: Traced) -> None:
    """Written octets are seen at once and on disk after fsync, whichever descriptor it is called on."""
    traced.create("a/x")
    traced.write("hello")
    inode = traced.disk.find("a/x")
    assert inode is not None
    assert (inode.octets, bytes(inode.on_disk)) == (b"hello", b"")
    traced.call(f"open({octets(f'{traced.root}/a/x')}, O_RDONLY) = 4")
    traced.sync(4)
    assert bytes(inode.on_disk) == b"hello"
    assert not inode.pending


def test_a_name_needs_a_sync_of_its_folder(traced: Traced) -> None:
    """A synced file without a synced folder may be gone."""
    traced.create("a/x")
    traced.sync()
    assert traced.outcomes() == {(), ("a/x",)}
    traced.sync_folder("b")
    assert traced.outcomes() == {(), ("a/x",)}
    traced.sync_folder("a")
    assert traced.outcomes() == {("a/x",)}


def test_a_sync_that_began_before_proves_nothing(traced: Traced) -> None:
    """What happens while a sync runs is not covered by it."""
    traced.create("a/x")
    lines = ["1 fsync(3 <unfinished ...>", f"2 write(3, {octets('late')}, 4) = 4", "1 <... fsync resumed>) = 0"]
    disk = Disk(traced.root, traced.root, ("a",), {2: (1, True)})
    opened = f"1 open({octets(f'{traced.root}/a/x')}, O_WRONLY|O_CREAT, 0600) = 3"
    for event in events([opened, *lines]):
        (disk.begin if event.when == "begin" else disk.end)(event.call)
    inode = disk.find("a/x")
    assert inode is not None
    assert (inode.octets, bytes(inode.on_disk)) == (b"late", b"")


def test_a_rename_is_all_or_nothing(traced: Traced) -> None:
    """The old name or the new one; certain when the new one's folder is synced."""
    traced.create("a/x")
    traced.sync_folder("a")
    traced.two("rename", "a/x", "b/y")
    assert traced.outcomes() == {("a/x",), ("b/y",)}
    traced.sync_folder("a")
    assert traced.outcomes() == {("a/x",), ("b/y",)}
    traced.sync_folder("b")
    assert traced.outcomes() == {("b/y",)}
    assert traced.disk.unsettled == []


def test_a_rename_is_settled_by_both_folders(traced: Traced) -> None:
    """Until the old name's folder is synced, too, its removal is not taken for certain everywhere."""
    traced.create("a/x")
    traced.sync_folder("a")
    traced.two("rename", "a/x", "b/y")
    traced.sync_folder("b")
    assert len(traced.disk.unsettled) == 1
    traced.sync_folder("a")
    assert traced.disk.unsettled == []


def test_changes_of_different_names_in_any_order(traced: Traced) -> None:
    """Of two links any, both or none may be there; of two changes of one name never the second alone."""
    traced.create("a/x")
    traced.sync_folder("a")
    traced.two("link", "a/x", "b/one")
    traced.two("link", "a/x", "b/two")
    traced.one("unlink", "b/one")
    x = "a/x"
    assert traced.outcomes() == {(x,), (x, "b/one"), (x, "b/two"), (x, "b/one", "b/two")}


def test_a_folder_without_a_name_takes_everything_with_it(traced: Traced) -> None:
    """A synced file in a synced folder is gone when the folder's own name is."""
    traced.one("mkdir", "a/new")
    traced.create("a/new/x")
    traced.sync_folder("a/new")
    assert traced.outcomes() == {(), ("a/new", "a/new/x")}


def test_a_descriptor_means_the_file_not_the_name(traced: Traced) -> None:
    """A number that was closed and given out again is another file; a duplicate is the same."""
    traced.create("a/x")
    traced.call("dup(3) = 5")
    traced.call("close(3) = 0")
    traced.create("a/y")
    traced.write("y")
    traced.write("x", fd=5)
    assert [traced.disk.find(path).octets for path in ("a/x", "a/y")] == [b"x", b"y"]  # type: ignore[union-attr]


def test_cut_and_lengthened(traced: Traced) -> None:
    """ftruncate is a write like any other."""
    traced.create("a/x")
    traced.write("hello")
    traced.call("ftruncate(3, 2) = 0")
    traced.call("ftruncate(3, 4) = 0")
    inode = traced.disk.find("a/x")
    assert inode is not None
    assert inode.octets == b"he\0\0"
