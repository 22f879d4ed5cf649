"""Accepting without an event loop and without another process: the same steps, one after the other."""

import os

from maillib.embedded.queue_accept import Acceptance, NewMessage
from maillib.embedded.queue_folders import SpoolFolders
from maillib.embedded.queue_publish import publish
from maillib.embedded.queue_room import Room
from maillib.errors import TemporaryError


def accept(folders: SpoolFolders, *messages: NewMessage) -> list[TemporaryError | None]:
    """For each message, in order, why it was not accepted; None: it is ours. Published as one batch."""
    room = Room(folders.messages)
    batch = [Acceptance(folders, room, message) for message in messages]
    failed: dict[Acceptance, TemporaryError] = {}
    for one in batch:
        try:
            one.write()
        except TemporaryError as error:
            one.undo()
            failed[one] = error
    written = [one for one in batch if one not in failed]
    for one, number in zip(written, publish(folders, [one.to_publish for one in written]), strict=True):
        if number:
            one.undo()
            failed[one] = one.translated(OSError(number, os.strerror(number)))
    for one in batch:
        one.close()
    return [failed.get(one) for one in batch]
