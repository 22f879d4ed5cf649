"""The last steps of accepting, many messages at a time: what is written gets onto the disk and becomes ours.

Guarantees: when `publish` has returned, each message without an error is on disk, by strict POSIX: its body synced,
then the folder that names it; its envelope synced, then the rename into incoming/, then that folder. A folder is synced
once for all. What fails one message fails no other.

Why in this order, and what it costs: docs/decisions/0005-batches-in-the-spool.md. All of it blocks.
"""

import errno
from collections.abc import Callable, Sequence

from maillib.embedded.queue_folders import SpoolFolders

ONLY_FOLDERS = "-"
"""In the place of an ID: a message that is queued already, for which both folders are to be synced."""


def publish(folders: SpoolFolders, ids: Sequence[str]) -> list[int]:
    """For each message, whose files are under their names, what went wrong as an `errno`; 0: it is ours."""
    messages, incoming = folders.messages, folders.incoming
    errors = [0] * len(ids)

    def each(step: Callable[[str], None]) -> None:
        for place, queue_id in enumerate(ids):
            if queue_id != ONLY_FOLDERS and not errors[place]:
                try:
                    step(queue_id)
                except OSError as error:
                    errors[place] = error.errno or errno.EIO

    def all_at_once(sync: Callable[[], None]) -> None:
        try:
            sync()
        except OSError as error:
            errors[:] = [one or error.errno or errno.EIO for one in errors]

    each(lambda queue_id: messages.sync_file(f"{queue_id}.eml"))
    all_at_once(messages.sync)
    each(lambda queue_id: incoming.sync_file(f"{queue_id}.json.tmp"))
    each(lambda queue_id: incoming.rename(f"{queue_id}.json.tmp", incoming, f"{queue_id}.json"))
    all_at_once(incoming.sync)
    return errors
