"""What a running service is asked to become, one change at a time: which is under way, which wait for it.

Guarantees: whoever asked gets one answer, also when the service stops meanwhile; what cannot begin changes nothing.
Leaves to others: how a reload or restart goes (`changeover`), how running workers take a change (`retuning`), what both
do to the service (`master`).
"""

import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from maillib import maillog
from maillib.command_socket import Client
from maillib.control import Message, Verb
from maillib.errors import ConfigError, MailError
from maillib.runtime import changeover, retuning
from maillib.runtime.changeover import Changeover
from maillib.runtime.cohort import Cohort
from maillib.runtime.retuning import Retuning, refuse_what_needs_more
from maillib.runtime.takeover import Sockets
from maillib.settings import service
from maillib.settings.service import ServiceFile

Waiting = tuple[Client | None, Message]
"""Who asked, and for what."""


class Host(changeover.Host, retuning.Host, Protocol):
    """What changes need of their master."""

    @property
    def file(self) -> ServiceFile:
        """What it runs by now."""

    def room(self) -> int:
        """Connections that its workers can count."""

    def expect(self, coming: Cohort | None) -> None:
        """These workers are about to become ready; None: nobody is any more."""

    def let_go(self, addresses: set[str]) -> None:
        """Refuse on these listeners, which stay in the configuration."""

    def note_trouble(self, error: str | None) -> None:
        """For whoever asks how the service is; None: all is well."""


class Changes:
    def __init__(self, config_argument: Path, master: Host) -> None:
        self._config_argument = config_argument
        self._master = master
        self._changeover: Changeover | None = None
        self._retuning: Retuning | None = None
        self.waiting: deque[Waiting] = deque()
        """Changes that came during another one."""

    def ask(self, client: Client | None, request: Message) -> None:
        """Begin what was asked for, or let it wait for the change under way."""
        if self._changeover is not None or self._retuning is not None:
            if client is not None:
                client.tell("another change is under way")
            self.waiting.append((client, request))
            return
        try:
            self._begin(client, request)
        except MailError as error:
            self._retuning = None
            self.refuse(client, str(error))
            self.take_next()

    def take_next(self) -> None:
        """The next one that waits."""
        if self.waiting:
            self.ask(*self.waiting.popleft())

    def refuse(self, client: Client | None, error: str) -> None:
        self._master.note_trouble(error)
        maillog.problem(what="reload", error=error)
        if client is not None:
            client.fail(error)

    def abandon(self) -> None:
        """The service is stopping."""
        if self._changeover is not None:
            self._changeover.abandon()
        if self._retuning is not None:
            self._retuning.abandon()
        for client, _ in self.waiting:
            if client is not None:
                client.fail("the service is stopping")
        self.waiting.clear()

    def _begin(self, client: Client | None, request: Message) -> None:
        """Raises MailError."""
        verb, addresses = request.get("verb"), request.get("addresses")
        if verb == Verb.LET_GO:
            self._master.let_go({str(address) for address in addresses} if isinstance(addresses, list) else set())
            if client is not None:
                client.answer({"ok": True})
            return
        path = Path(str(request.get("config") or self._config_argument)).resolve()
        file = self._read(path)
        if verb == Verb.RETUNE:
            self._retune(client, path, file)
        else:
            self._change_over(client, path, file, anew=verb == Verb.RESTART)

    def _read(self, path: Path) -> ServiceFile:
        """Raises ConfigError when it cannot be read or is another service's."""
        file, mine = service.read(path), self._master.file.service
        if (file.service.name, file.service.protocol) != (mine.name, mine.protocol):
            raise ConfigError(f"{path} is not for the service {mine.name}")
        if (file.service.state_dir, file.service.run_dir) != (mine.state_dir, mine.run_dir):
            raise ConfigError(f"{path} is for another state directory")
        return file

    def _change_over(self, client: Client | None, path: Path, file: ServiceFile, *, anew: bool) -> None:
        self._changeover = Changeover(coming=Cohort(path, file), client=client, anew=anew, master=self._master)
        self._master.expect(self._changeover.coming)
        self._changeover.tick(time.monotonic())

    def _retune(self, client: Client | None, path: Path, file: ServiceFile) -> None:
        """Raises MailError when the running workers cannot take it."""
        refuse_what_needs_more(self._master.file.service, file.service, self._master.room())

        def reload_instead() -> None:
            maillog.problem(what="new configuration", error="a worker did not take it: all are replaced")
            self._retuning = None
            self._change_over(client, path, file, anew=False)

        self._retuning = Retuning(path, file, client=client, master=self._master, instead=reload_instead)
        self._retuning.begin()

    # What happens meanwhile

    def dates(self) -> Iterator[float]:
        """Monotonic times at which `tick` has something to do."""
        for one in (self._changeover, self._retuning):
            if one is not None:
                yield one.give_up_at

    def tick(self, now: float) -> None:
        for one in (self._changeover, self._retuning):
            if one is not None:
                one.tick(now)

    def reaped(self) -> None:
        """Some child has ended."""
        if self._changeover is not None:
            self._changeover.reaped()

    def has_retuned(self, pid: int) -> None:
        """That worker has taken the new configuration, or has ended."""
        if self._retuning is not None:
            self._retuning.gone(pid)

    def opened_for(self, one: Cohort) -> Sockets:
        """Listeners that were opened for a cohort which does not serve yet."""
        mine = self._changeover is not None and self._changeover.coming is one
        return self._changeover.opened if self._changeover is not None and mine else {}

    def became_ready(self) -> bool:
        """Whether it was the workers that are awaited; then the change goes on."""
        if self._changeover is None or not self._changeover.coming.is_ready:
            return False
        self._changeover.all_ready()
        return True

    def fail(self, error: str) -> None:
        """The workers that are awaited will not become ready."""
        if self._changeover is not None:
            self._changeover.fail(error)

    def changed_over(self, failure: str | None) -> None:
        if failure is not None:
            self.refuse(None, failure)
        self._changeover = None
        self._master.expect(None)
        self.take_next()

    def retuned(self) -> None:
        self._retuning = None
        self._master.note_trouble(None)
        self.take_next()
