"""The processes of a suite, as the kernel shows them: told by their command lines, whoever started them."""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from maillib import control
from orchestrator import generation
from orchestrator.place import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    pid: int
    started: int
    """Names it for good, together with the pid: see `control.start_time`."""
    parent: int
    command: tuple[str, ...]


def of_suite(place: Place) -> Iterator[Process]:
    """Every living master, worker, agent and supervisord of this state directory but the process that asks."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if not _is_ours(words, place):
                continue
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended meanwhile
        started = control.start_time(int(folder.name))
        if started is not None:
            command = tuple(os.fsdecode(word) for word in words[:-1])
            yield Process(pid=int(folder.name), started=started, parent=parent, command=command)


def _is_ours(words: list[bytes], place: Place) -> bool:
    """A master or worker with a file of our generations, the agent of our state directory, or our supervisord."""
    options = dict(itertools.pairwise(words))
    generations = f"{generation.folder(place.state_dir)}/".encode()
    return (
        options.get(b"--config", b"").startswith(generations)
        or options.get(b"--state-dir") == os.fsencode(place.state_dir)
        or (
            options.get(b"-c") == os.fsencode(generation.configuration(place.state_dir))
            and any(word.endswith((b"supervisord", b"supervisord.py")) for word in words)
        )
    )
