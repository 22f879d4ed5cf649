"""Connections counted in memory that several processes share."""

import os

import pytest

from maillib.runtime.occupancy import Occupancy, mark_of, network_of


def test_places_are_counted_over_all_regions() -> None:
    """Each worker writes its own region; everybody sees all of them, and a region can be cleared for a dead worker."""
    occupancy = Occupancy.create(4)
    first, second = occupancy.seat(0), occupancy.seat(1)
    mine, other = mark_of("192.0.2.1"), mark_of("192.0.3.1")
    slots = [first.take(mine) for _ in range(4)]
    assert (first.take(mine), second.take(mine) is None) == (None, False)
    second.take(other)
    assert (occupancy.taken(), occupancy.taken_in(1), occupancy.taken_by(mine)) == (6, 2, 5)
    assert slots[0] is not None
    first.leave(slots[0])
    occupancy.clear(1)
    assert (occupancy.taken(), occupancy.taken_by(mine), occupancy.taken_by(other)) == (3, 3, 0)
    occupancy.close()


def test_whoever_leaves_takes_only_the_own_mark_along() -> None:
    """In any order: the others are still counted for whom they are."""
    occupancy = Occupancy.create(8)
    seat = occupancy.seat(3)
    hosts = [f"192.0.2.{number % 3}" for number in range(8)]
    slots = [seat.take(mark_of(host)) for host in hosts]
    for gone, number in enumerate((3, 7, 0, 5, 6)):
        slot = slots[number]
        assert slot is not None
        seat.leave(slot)
        hosts[number] = "left"
        for host in ("192.0.2.0", "192.0.2.1", "192.0.2.2"):
            assert occupancy.taken_by(mark_of(host)) == hosts.count(host)
        assert occupancy.taken_from(network_of(mark_of("192.0.2.77"))) == occupancy.taken() == 7 - gone
    occupancy.close()


@pytest.mark.parametrize(
    ("one", "other", "same_address", "same_network"),
    [
        ("192.0.2.1", "192.0.2.2", False, True),
        ("192.0.2.1", "192.0.3.1", False, False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::", True, True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False, True),
        ("2001:db8:1:2::1", "2001:db8:2:2::1", False, False),
        ("0.0.0.1", "::1", False, False),
        ("fe80::1%eth0", "fe80::2", True, True),
    ],
)
def test_who_counts_as_one(one: str, other: str, same_address: bool, same_network: bool) -> None:
    """Of IPv6 a /64 is one client, and a /48 one customer; of IPv4 an address, and a /24."""
    marks = mark_of(one), mark_of(other)
    assert (marks[0] == marks[1], network_of(marks[0]) == network_of(marks[1])) == (same_address, same_network)


def test_nobody_can_take_the_memory_away() -> None:
    """A worker that makes the shared memory shorter would end its master: it cannot."""
    occupancy = Occupancy.create(4)
    with pytest.raises(PermissionError):
        os.ftruncate(occupancy.descriptor, 0)
    occupancy.close()
