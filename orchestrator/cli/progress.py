"""How a change tells what it does: on stderr, with what is under way in its last line when that is a terminal.

What cannot be told (a pipe that nobody reads any more, a lost terminal) is no reason to stop half-way: it is dropped.
"""

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.status import Status


class Progress:
    """Lines of what is done, and a step that is under way."""

    def __init__(self, status: "Status | None") -> None:
        self._status = status

    def tell(self, line: str) -> None:
        with contextlib.suppress(OSError):
            if self._status is None:
                typer.echo(line, err=True)
            else:
                self._status.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def doing(self, step: str) -> None:
        if self._status is not None:
            with contextlib.suppress(OSError):
                self._status.update(step)


@contextlib.contextmanager
def shown() -> Iterator[Progress]:
    """Progress for as long as the block lasts; plain lines where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield Progress(None)
        return
    from rich.console import Console  # a twentieth of a second, for people alone

    with Console(stderr=True).status("") as status:
        yield Progress(status)
