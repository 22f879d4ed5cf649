"""What a delivery works on, and whatever follows from it: notifications, mail of lists."""

from dataclasses import dataclass

from maillib.ports.blobs import Blobs
from maillib.ports.directory import Directory
from maillib.ports.index import Index
from maillib.ports.queue import Queue


@dataclass(frozen=True, slots=True)
class Ports:
    directory: Directory
    index: Index
    blobs: Blobs
    queue: Queue
