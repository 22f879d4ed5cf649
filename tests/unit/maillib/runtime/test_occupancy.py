"""Connections counted in memory that several processes share."""

import os

import pytest

from maillib.runtime.occupancy import Occupancy, mark_of


def test_places_are_counted_over_all_regions() -> None:
    """Each worker writes its own region; everybody sees all of them, and a region can be cleared for a dead worker."""
    occupancy = Occupancy.create(4)
    first, second = occupancy.seat(0), occupancy.seat(1)
    mine, other = mark_of("192.0.2.1"), mark_of("192.0.2.2")
    slots = [first.take(mine) for _ in range(4)]
    assert (first.take(mine), second.take(mine) is None) == (None, False)
    second.take(other)
    assert (occupancy.taken(), occupancy.taken_in(1), occupancy.taken_by(mine)) == (6, 2, 5)
    assert slots[0] is not None
    first.leave(slots[0])
    occupancy.clear(1)
    assert (occupancy.taken(), occupancy.taken_by(mine), occupancy.taken_by(other)) == (3, 3, 0)
    occupancy.close()


def test_nobody_can_take_the_memory_away() -> None:
    """A worker that makes the shared memory shorter would end its master: it cannot."""
    occupancy = Occupancy.create(4)
    with pytest.raises(PermissionError):
        os.ftruncate(occupancy.descriptor, 0)
    occupancy.close()
