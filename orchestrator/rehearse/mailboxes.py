"""What conversations with services that give mail to its owners have in common."""

from abc import ABC, abstractmethod
from typing import Protocol

from maillib.settings.service import Listener, ServiceConfig
from orchestrator.rehearse.conversation import Letter, Lingering, Scene
from orchestrator.rehearse.report import Part, Report, Unexpected
from orchestrator.rehearse.wire import shown

WRONG_PASSWORD = "no password of anybody"  # noqa: S105 - that is the point

UNREAD_OCTETS = 1 << 20
"""Of the message that is half read when the service is stopped: more than sockets hold."""
BUFFER_OCTETS = 4096
"""What its reader takes unread."""


class Talk(Protocol):
    """With one listener."""

    def open(self) -> None:
        """What needs no log-in, and what is refused without."""

    def as_user(self) -> None:
        """From the log-in to the end of the message."""


class MailboxConversation(ABC):
    """A `Conversation`, listener by listener; one for each protocol derives from it."""

    def talk(self, scene: Scene, service: ServiceConfig, report: Report) -> None:
        for listener in service.listen:
            letter = Letter.new(scene.guests.new())
            with report.part(service.name, scene.name_of(listener)) as part:
                talk = self._talk(scene, service, listener, part, letter)
                talk.open()
                if _lets_log_in(listener):
                    talk.as_user()
                else:
                    part.skip("gives the message", "it has no TLS, and so no log-in")

    def linger(self, scene: Scene, service: ServiceConfig) -> Lingering:
        for listener in service.listen:
            if _lets_log_in(listener):
                letter = Letter.new(scene.guests.new(), at_least=scene.fitting(UNREAD_OCTETS))
                scene.deliver(letter)
                return self._half_read(scene, service, listener, letter)
        raise Unexpected("a listener to log in at", "none: without TLS there is no log-in")

    @abstractmethod
    def _talk(self, scene: Scene, service: ServiceConfig, listener: Listener, part: Part, letter: Letter) -> Talk: ...

    @abstractmethod
    def _half_read(self, scene: Scene, service: ServiceConfig, listener: Listener, letter: Letter) -> Lingering:
        """A client in the middle of `letter`, which is in its mailbox. Raises Unexpected, OSError."""


def check_octets(letter: Letter, came: bytes) -> None:
    """Raises Unexpected unless `came` is the letter, after header fields of those who had it on the way."""
    before = came.removesuffix(letter.octets)
    if before == came:
        raise Unexpected(f"the {len(letter.octets)} octets that were sent", f"{len(came)} octets that differ from them")
    if b"\r\n\r\n" in before or not before.startswith(b"Return-Path: "):
        raise Unexpected("trace fields before the message", shown(before))


def _lets_log_in(listener: Listener) -> bool:
    return listener.tls != "none" or listener.cleartext_login
