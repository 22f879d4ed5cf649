"""Generations: what was applied, when, and with which result.

Layout of STATE_DIR/generations/ (directories 0750, files 0640):
    000008/            one that was written whole; never changed later but for result.json
        spec.yaml          the spec as it was read
        accounts.yaml      the accounts declaration as it was read, if there was one
        resolved.json      the spec with every default; secrets as references
        supervisord.conf   what supervisord reads
        services/NAME.json what master and workers of NAME read
        plan.json          what was to be done, and why
        result.json        what came of it
    current            symbolic link to the one that holds

A generation is written aside (`*.tmp`), synced and renamed; `current` is replaced by rename. A number is never used
twice, also not that of a generation that failed: a master names the one it runs by its number.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from maillib.settings.base import Json

RESULT = "result.json"


@dataclass(frozen=True, slots=True)
class Generation:
    """One folder of STATE_DIR/generations/."""

    number: int
    path: Path

    def text(self, name: str) -> str | None:
        """A file of it; None when it has no such file."""
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def data(self, name: str) -> Json:
        """A JSON file of it; None when it has no such file."""
        text = self.text(name)
        parsed: Json = None if text is None else json.loads(text)
        return parsed

    def service(self, name: str) -> Json:
        """What its master of service `name` was told."""
        file = self.data(f"services/{name}.json")
        return file.get("service") if isinstance(file, dict) else None

    def record(self, result: Json) -> None:
        """Write result.json."""
        aside = self.path / f"{RESULT}.tmp"
        _write(aside, encode(result))
        aside.replace(self.path / RESULT)
        _sync_folder(self.path)


def folder(state_dir: Path) -> Path:
    return state_dir / "generations"


def service_file(state_dir: Path, name: str) -> Path:
    """The path that masters are given: of whichever generation holds when they read it."""
    return folder(state_dir) / "current" / "services" / f"{name}.json"


def configuration(state_dir: Path) -> Path:
    """What `supervisorctl -c` is given; leads to the supervisord.conf of the generation that holds."""
    return state_dir / "run" / "supervisord.conf"


def current(state_dir: Path) -> Generation | None:
    """The one that holds; None before the first apply."""
    try:
        target = (folder(state_dir) / "current").readlink()
    except FileNotFoundError:
        return None
    return numbered(state_dir, int(target.name))


def numbered(state_dir: Path, number: int) -> Generation | None:
    path = folder(state_dir) / f"{number:06d}"
    return Generation(number, path) if path.is_dir() else None


def next_number(state_dir: Path) -> int:
    names = [path.name for path in folder(state_dir).glob("[0-9]*") if path.name.isdigit()]
    return max(map(int, names), default=0) + 1


def write(
    state_dir: Path, number: int, files: Mapping[str, str], *, check: Callable[[Path], None] = lambda aside: None
) -> Generation:
    """Make generation `number` from relative path and text of each file; it does not hold yet. Syncs.

    `check` may look at the folder while it is still aside; what it raises leaves nothing behind.
    """
    home = folder(state_dir)
    home.mkdir(mode=0o750, parents=True, exist_ok=True)
    aside, final = home / f"{number:06d}.tmp", home / f"{number:06d}"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(mode=0o750)
    for name, text in files.items():
        path = aside / name
        path.parent.mkdir(mode=0o750, exist_ok=True)
        _write(path, text)
    try:
        check(aside)
    except BaseException:
        shutil.rmtree(aside)
        raise
    for path in [*(path for path in aside.rglob("*") if path.is_dir()), aside]:
        _sync_folder(path)
    aside.rename(final)
    _sync_folder(home)
    return Generation(number, final)


def switch(state_dir: Path, to: Generation | None) -> None:
    """Make `to` the one that holds, by one rename; None: none holds."""
    link, conf = folder(state_dir) / "current", configuration(state_dir)
    if to is None:
        conf.unlink(missing_ok=True)
        link.unlink(missing_ok=True)
        return
    _link(link, Path(to.path.name))
    _sync_folder(folder(state_dir))
    wanted = Path("../generations/current/supervisord.conf")
    if not conf.is_symlink() or conf.readlink() != wanted:
        conf.parent.mkdir(mode=0o750, exist_ok=True)
        _link(conf, wanted)


def encode(data: Json) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _link(link: Path, target: Path) -> None:
    aside = link.with_name(f"{link.name}.tmp")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    aside.replace(link)


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
