"""Generations: what was applied, when, by whom, and with which result.

Layout of STATE_DIR/generations/ (directories 0750, files 0640):
    000008/            one that was written whole; never changed later but for result.json
        spec.yaml          the spec as it was read
        accounts.yaml      the accounts declaration as it was read, if there was one
        made.json          who made it, when, and from which files
        resolved.json      the spec with every default; secrets as references
        supervisord.conf   what supervisord reads
        services/NAME.json what master and workers of NAME read
        plan.json          what was to be done, and why
        manifest.json      SHA-256 of each file above
        result.json        what came of it; not there: the apply has not ended, or was killed
    live/NAME.json     symbolic link to what the master of NAME is to read; moved when that service is switched
    current            symbolic link to the one in force, the last that was switched to as a whole

A generation is written aside (`*.tmp`), synced and renamed; links are replaced by rename. `current` moves last: killed
at any moment, an apply leaves the old or the new generation in force, and each service reads one that is whole. A
number is never used twice, also not that of a generation that failed: a master names the one it runs by its number.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from maillib.settings.base import Json
from orchestrator.errors import GenerationDamaged

SPEC = "spec.yaml"
ACCOUNTS = "accounts.yaml"
MADE = "made.json"
RESOLVED = "resolved.json"
CONFIGURATION = "supervisord.conf"
PLAN = "plan.json"
MANIFEST = "manifest.json"
RESULT = "result.json"

KEPT = 20
"""So many are kept, and those in use."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One folder of STATE_DIR/generations/."""

    number: int
    path: Path

    def text(self, name: str) -> str | None:
        """A file of it; None when it has no such file. Raises GenerationDamaged when it cannot be read as text."""
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            raise self._damaged(f"{name} is no text") from None

    def data(self, name: str) -> Json:
        """A JSON file of it; None when it has no such file. Raises GenerationDamaged when it is none."""
        text = self.text(name)
        try:
            parsed: Json = None if text is None else json.loads(text)
        except ValueError as error:
            raise self._damaged(f"{name} is no JSON: {error}") from None
        return parsed

    def service(self, name: str) -> Json:
        """What its master of service `name` was told. Raises GenerationDamaged."""
        file = self.data(f"services/{name}.json")
        return file.get("service") if isinstance(file, dict) else None

    def names(self) -> set[str]:
        """Its services."""
        return {path.stem for path in (self.path / "services").glob("*.json")}

    def verify(self) -> None:
        """Raises GenerationDamaged when a file is not as it was written."""
        damage = self.damage()
        if damage:
            raise self._damaged(", ".join(f"{name} {what}" for name, what in damage.items()))

    def damage(self) -> dict[str, str]:
        """Files that are not as they were written, and what is wrong with each. Never raises for that."""
        try:
            digests = self._manifest()
        except GenerationDamaged:
            return {MANIFEST: "is missing or no JSON"}
        found: dict[str, str] = {}
        for name, digest in digests.items():
            try:
                octets = (self.path / name).read_bytes()
            except OSError as error:
                found[name] = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
            else:
                if _digest(octets) != digest:
                    found[name] = "was changed"
        return found

    def record(self, result: Json) -> None:
        """Write result.json."""
        aside = self.path / f"{RESULT}.tmp"
        write_file(aside, encode(result))
        aside.replace(self.path / RESULT)
        _sync_folder(self.path)

    def _manifest(self) -> dict[str, str]:
        rows = self.data(MANIFEST)
        if not isinstance(rows, dict):
            raise self._damaged(f"{MANIFEST} is missing")
        return {name: str(digest) for name, digest in rows.items()}

    def _damaged(self, what: str) -> GenerationDamaged:
        return GenerationDamaged(f"generation {self.number} is damaged: {what}; `postroom apply` makes a new one")


def folder(state_dir: Path) -> Path:
    return state_dir / "generations"


def service_file(state_dir: Path, name: str) -> Path:
    """The path that masters are given: a link to what this service is to read now."""
    return folder(state_dir) / "live" / f"{name}.json"


def configuration(state_dir: Path) -> Path:
    """What `supervisorctl -c` is given: a link to the supervisord.conf that supervisord is to read now."""
    return state_dir / "run" / CONFIGURATION


def current(state_dir: Path) -> Generation | None:
    """The one in force; None before the first apply. Raises GenerationDamaged when it is not there."""
    name = _current_name(state_dir)
    if name is None:
        return None
    found = numbered(state_dir, int(name)) if name.isdecimal() else None
    if found is None:
        raise GenerationDamaged(
            f"{folder(state_dir)}/current leads to {name}, which is not there; `postroom apply` makes a new generation"
        )
    return found


def whole(state_dir: Path) -> Generation | None:
    """The one in force; None where there is none, or it is not as it was written: it tells nothing then."""
    try:
        held = current(state_dir)
        if held is not None:
            held.verify()
    except GenerationDamaged:
        return None
    return held


def numbered(state_dir: Path, number: int) -> Generation | None:
    path = folder(state_dir) / f"{number:06d}"
    return Generation(number, path) if path.is_dir() else None


def every(state_dir: Path) -> list[Generation]:
    """All that were written whole, oldest first."""
    names = (path.name for path in folder(state_dir).glob("[0-9]*"))
    found = (numbered(state_dir, int(name)) for name in names if name.isdecimal())
    return sorted((one for one in found if one is not None), key=lambda one: one.number)


def unfinished(state_dir: Path) -> list[Generation]:
    """Those whose apply has not ended, or was killed."""
    return [one for one in every(state_dir) if not (one.path / RESULT).exists()]


def next_number(state_dir: Path) -> int:
    """One that none has had, neither the one in force where its folder was lost."""
    name = _current_name(state_dir) or ""
    return max(int(name) if name.isdecimal() else 0, *(one.number for one in every(state_dir)), 0) + 1


def write(
    state_dir: Path, number: int, files: Mapping[str, str], *, check: Callable[[Path], None] = lambda aside: None
) -> Generation:
    """Make generation `number` from relative path and text of each file; it does not hold yet. Syncs.

    `check` may look at the folder while it is still aside; what it raises, or a full disk, leaves nothing behind.
    """
    home = folder(state_dir)
    home.mkdir(mode=0o750, parents=True, exist_ok=True)
    aside, final = home / f"{number:06d}.tmp", home / f"{number:06d}"
    manifest = encode({name: _digest(text.encode()) for name, text in files.items()})
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(mode=0o750)
        for name, text in {**files, MANIFEST: manifest}.items():
            path = aside / name
            path.parent.mkdir(mode=0o750, exist_ok=True)
            write_file(path, text)
        check(aside)
        for path in [*(path for path in aside.rglob("*") if path.is_dir()), aside]:
            _sync_folder(path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    aside.rename(final)
    _sync_folder(home)
    return Generation(number, final)


def load(state_dir: Path, to: Generation) -> None:
    """Have supervisord find the configuration of `to`."""
    conf = configuration(state_dir)
    conf.parent.mkdir(mode=0o700, exist_ok=True)
    _link(conf, Path("../generations") / to.path.name / CONFIGURATION)


def point(state_dir: Path, name: str, to: Generation) -> Generation | None:
    """Have the master of `name` find its file in `to`. Where it pointed before, if that is still there."""
    link = service_file(state_dir, name)
    before = _pointed(state_dir, name)
    if before != to:
        link.parent.mkdir(mode=0o750, exist_ok=True)
        _link(link, Path("..") / to.path.name / "services" / link.name)
    return before


def forget_others(state_dir: Path, held: Generation) -> None:
    """Services that are not in `held` are no more: nobody finds a file for them."""
    for name in _live(state_dir) - held.names():
        service_file(state_dir, name).unlink()


def is_live(state_dir: Path, held: Generation) -> bool:
    """Whether supervisord and all masters find their files in `held`, and nobody else finds one."""
    conf = configuration(state_dir)
    return (
        conf.is_symlink()
        and conf.readlink().parent.name == held.path.name
        and _live(state_dir) == held.names()
        and all(_pointed(state_dir, name) == held for name in held.names())
    )


def commit(state_dir: Path, to: Generation) -> None:
    """Make `to` the one in force, by one rename."""
    _link(folder(state_dir) / "current", Path(to.path.name))
    _sync_folder(folder(state_dir))


def withdraw(state_dir: Path) -> None:
    """None is in force, and nothing is to run: as before the first apply."""
    configuration(state_dir).unlink(missing_ok=True)
    (folder(state_dir) / "current").unlink(missing_ok=True)
    shutil.rmtree(folder(state_dir) / "live", ignore_errors=True)


def sweep(state_dir: Path) -> None:
    """Remove what a killed apply was about to write, or to remove."""
    for path in folder(state_dir).glob("*.tmp"):
        if path.is_symlink() or path.is_file():
            path.unlink()
        else:
            shutil.rmtree(path)


def prune(state_dir: Path, in_use: Callable[[], Collection[int]]) -> None:
    """Remove the oldest beyond `KEPT`, but none that is in force, that a service reads, or whose number is in use."""
    old = every(state_dir)[:-KEPT]
    if not old:
        return
    held = current(state_dir)
    kept = {held.number if held else 0, *in_use(), *_read_by_services(state_dir)}
    for one in old:
        if one.number not in kept:
            aside = one.path.with_suffix(".tmp")
            one.path.rename(aside)
            shutil.rmtree(aside)


def encode(data: Json) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _current_name(state_dir: Path) -> str | None:
    """Raises GenerationDamaged when something else than a link is there, OSError when we may not look."""
    link = folder(state_dir) / "current"
    try:
        return link.readlink().name
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise GenerationDamaged(f"{link} is no link; remove it") from None


def _pointed(state_dir: Path, name: str) -> Generation | None:
    try:
        number = service_file(state_dir, name).readlink().parent.parent.name
    except OSError:
        return None
    return numbered(state_dir, int(number)) if number.isdecimal() else None


def _live(state_dir: Path) -> set[str]:
    """Services for whose masters there is a link."""
    return {path.stem for path in (folder(state_dir) / "live").glob("*.json")}


def _read_by_services(state_dir: Path) -> Iterator[int]:
    for name in _live(state_dir):
        if (found := _pointed(state_dir, name)) is not None:
            yield found.number


def _digest(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


def _link(link: Path, target: Path) -> None:
    aside = link.with_name(f"{link.name}.tmp")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    aside.replace(link)


def write_file(path: Path, text: str) -> None:
    """A file of mode 0640 with `text`, synced. What it raises names the file."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:  # of a full disk, the system does not say where
        raise OSError(error.errno, error.strerror, str(path)) from None


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
