"""A POP session that has its maildrop: the commands of the TRANSACTION state, and UPDATE. RFC 1939 §5, §6.

Guarantees: no command is served once another session has had the maildrop; messages go only by `update`, all that were
deleted or none.
"""

import asyncio
from collections.abc import Iterable

from maillib import maillog
from maillib.dialog import Output
from maillib.errors import (
    Conflict,
    LocalError,
    MailError,
    NotFound,
    PeerError,
    PermanentError,
    TemporaryError,
)
from maillib.message.wire import whole
from maillib.protocols import pop3
from maillib.protocols.pop3 import Plain, TopFilter, err, ok
from maillib.sessions.maildrop import Maildrop
from maillib.sessions.pop_message import SMALL_OCTETS, Messages, Wire
from maillib.sessions.pop_replies import reply_to


class Transaction:
    """What a session has from its log-in on."""

    def __init__(self, maildrop: Maildrop, messages: Messages, *, utf8: bool) -> None:
        """`utf8`: the client has given the command UTF8. RFC 6856 §2."""
        self._maildrop = maildrop
        self._messages = messages
        self._utf8 = utf8
        self.user = str(maildrop.account.address)
        self._sending = ""
        """What, in words; empty: nothing that takes long."""
        self._retrieved = 0
        self._retrieved_octets = 0

    @property
    def doing(self) -> str:
        return self._sending or ("waiting" if self._maildrop.is_held else "silent, has let go of the maildrop")

    @property
    def contents(self) -> str:
        """What there is, in words."""
        return f"{self._maildrop.count} messages ({self._maildrop.octets} octets)"

    async def serve(self, event: pop3.Command, output: Output) -> None:
        """Raises PeerError, after its last words, when the session cannot go on."""
        if not self._maildrop.heard():
            await self._confirm(event, output)
        try:
            if isinstance(event, pop3.Retr):
                await self._send(event.number, None, output)
            else:
                await self._answer(event, output)
        except NotFound as error:
            await output.send(reply_to(error))
        except (TemporaryError, PermanentError) as error:
            self._log(event, error)
            await output.send(reply_to(error))
        finally:
            self._sending = ""

    async def _confirm(self, event: pop3.Command, output: Output) -> None:
        """Raises PeerError, after its last words, when the maildrop was somebody else's, or may have been."""
        try:
            await self._maildrop.confirm()
        except (Conflict, TemporaryError) as error:
            self._log(event, error)
            await output.send(reply_to(error))
            raise PeerError("taken-over" if isinstance(error, Conflict) else "failed") from None

    async def update(self) -> bytes:
        """Remove what was deleted, and set the maildrop free; what to answer QUIT."""
        try:
            removed = await self._maildrop.update()
        except Conflict as error:
            self._log(Plain.QUIT, error)
            return reply_to(error)
        except (TemporaryError, PermanentError) as error:
            self._log(Plain.QUIT, error)
            return err("deleted messages are not removed", "SYS/TEMP")
        finally:
            await self._maildrop.release()
        if removed:
            maillog.expunged(user=self.user, messages=removed)
        return ok("bye")

    async def closed(self) -> None:
        """The connection has ended."""
        await self._maildrop.release()
        if self._retrieved:
            maillog.retrieved(user=self.user, messages=self._retrieved, octets=self._retrieved_octets)

    def _log(self, event: pop3.Command, error: MailError) -> None:
        if isinstance(error, Conflict):
            maillog.maildrop_taken_over(user=self.user)
        else:
            maillog.problem(what=pop3.keyword(event), error=str(error))

    async def _answer(self, event: pop3.Command, output: Output) -> None:
        """Raises NotFound, TemporaryError, PermanentError before anything was said."""
        maildrop = self._maildrop
        match event:
            case pop3.Dele(number):
                maildrop.delete(number)
                await output.send(ok(f"message {number} is marked"))
            case pop3.Top(number, body_lines):
                await self._send(number, TopFilter(body_lines), output)
            case pop3.Uidl(None):
                await self._list(maildrop.unique_ids(), output)
            case pop3.Uidl(int(number)):
                await output.send(ok(f"{number} {maildrop.unique_id(number)}"))
            case pop3.List(None):
                await self._list(maildrop.scan(), output)
            case pop3.List(int(number)):
                await output.send(ok(f"{number} {maildrop.size(number)}"))
            case Plain.STAT:
                await output.send(ok(f"{maildrop.count} {maildrop.octets}"))
            case Plain.NOOP:
                await output.send(ok("nothing done"))
            case Plain.RSET:
                maildrop.reset()
                await output.send(ok(self.contents))
            case _:
                raise LocalError(f"{pop3.keyword(event)} has no answer after log-in")

    async def _list(self, blocks: Iterable[bytes], output: Output) -> None:
        await output.send(ok(self.contents))
        for block in blocks:
            await output.send(block)
            await asyncio.sleep(0)  # a block may have had to be made
        await output.send(pop3.END)

    async def _send(self, number: int, top: TopFilter | None, output: Output) -> None:
        """The first of a message is read before anything is said, so that a missing body still gets its -ERR."""
        size = self._maildrop.size(number)
        if size > SMALL_OCTETS:
            await self._send_large(number, size, top, output)
        else:
            message = self._messages.at_hand(number)
            if message is None:
                message = await self._messages.small(number)
            await output.send(self._small(message, size, top))
        if top is None:
            self._retrieved += 1
            self._retrieved_octets += size

    async def _send_large(self, number: int, size: int, top: TopFilter | None, output: Output) -> None:
        wire = Wire(top, utf8=self._utf8)
        self._sending = f"{'TOP' if top else 'RETR'} {number} ({size} octets)"
        pieces = self._messages.pieces(number)
        first = wire.feed(await anext(pieces))
        await output.send(_opening(size, wire, top) + first)
        try:
            while not wire.is_done and (piece := await anext(pieces, None)) is not None:
                await output.send(wire.feed(piece))
                self._maildrop.heard()
        except (TemporaryError, PermanentError) as error:
            maillog.problem(what=f"message {number} of {self.user}", error=str(error))
            raise PeerError("failed") from None  # the client must not get to see an end of data
        finally:
            await pieces.aclose()
        await output.send(wire.finish())

    def _small(self, message: bytes, size: int, top: TopFilter | None) -> bytes:
        """The reply with all of a message."""
        if top is None and (self._utf8 or message.isascii()):  # most: nothing to be left out or made readable
            return ok(f"{size} octets") + whole(message)
        wire = Wire(top, utf8=self._utf8)
        shown = wire.feed(message) + wire.finish()
        return _opening(size, wire, top) + shown


def _opening(size: int, wire: Wire, top: TopFilter | None) -> bytes:
    """Clients read a size out of it; here it is that of what they get, dots not stuffed."""
    return ok("the top follows") if top else ok(f"{size + wire.growth} octets")
