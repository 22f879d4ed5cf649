"""Loaded by every interpreter that has this folder on its path: lists the places that sync, or skips one of them.

The folder that is the last on PYTHONPATH has `skip`, with the place whose syncs do nothing (empty: none), and gets a
file `seen-PID` with the places that were met. A place is where a module asks for a sync: the helpers in `files.py` and
`queue_files.py` are stepped over, and who called it belongs to the place: what one line syncs for two callers are two
places. SQLite's own syncs are one place for all.
"""

import linecache
import os
import sqlite3
import sys
from pathlib import Path
from types import CodeType, FrameType

_FOLDER = Path(os.environ["PYTHONPATH"].split(os.pathsep)[-1])
_SKIPPED = (_FOLDER / "skip").read_text()
_SQLITE = "sqlite.py: PRAGMA synchronous=FULL"
_HELPERS = ("files.py", "queue_files.py", "sitecustomize.py")
_fsync, _fdatasync = os.fsync, os.fdatasync
_known: dict[tuple[CodeType, int, CodeType | None, int | None], str] = {}


def _place(frame: FrameType) -> str:
    while frame.f_back is not None and Path(frame.f_code.co_filename).name in _HELPERS:
        frame = frame.f_back
    caller = frame.f_back
    key = frame.f_code, frame.f_lineno, caller and caller.f_code, caller and caller.f_lineno
    if key not in _known:
        known = _words(frame)
        if caller is not None and "maillib" in Path(caller.f_code.co_filename).parts:
            known += f" < {_words(caller)}"
        _known[key] = known
        _note(known)
    return _known[key]


def _words(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    line = linecache.getline(str(path), frame.f_lineno).strip()
    return f"{path.name} {frame.f_code.co_qualname}: {line}"


def _note(place: str) -> None:
    with (_FOLDER / f"seen-{os.getpid()}").open("a") as file:
        file.write(place + "\n")


def _synced(fd: int) -> None:
    if _place(sys._getframe(1)) != _SKIPPED:
        _fsync(fd)


def _data_synced(fd: int) -> None:
    if _place(sys._getframe(1)) != _SKIPPED:
        _fdatasync(fd)


class _Connection(sqlite3.Connection):
    def execute(self, statement: str, *parameters: object) -> sqlite3.Cursor:
        if statement == "PRAGMA synchronous=FULL":
            _note(_SQLITE)
            if _SKIPPED == _SQLITE:
                statement = "PRAGMA synchronous=NORMAL"
        return super().execute(statement, *parameters)  # type: ignore[arg-type]


def _connect(path: Path, **options: object) -> sqlite3.Connection:
    return _open(path, factory=_Connection, **options)  # type: ignore[call-overload,no-any-return]


os.fsync, os.fdatasync = _synced, _data_synced  # type: ignore[assignment]
_open, sqlite3.connect = sqlite3.connect, _connect  # type: ignore[assignment]
