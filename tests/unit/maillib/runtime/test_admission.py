"""Who gets in, who is refused, and who makes room."""

import asyncio
from collections.abc import Callable

import pytest

from maillib import maillog
from maillib.errors import PeerError
from maillib.runtime.admission import FULL, REMEMBERED, Admission
from maillib.runtime.occupancy import Occupancy, mark_of
from maillib.settings.service import Limits


class Guest:
    """One that has been silent since then; None: it has logged in, or we are busy for it. It leaves when told to."""

    def __init__(self, silent_since: float | None) -> None:
        self.silent_since = silent_since
        self.heard = b""
        self.leave: Callable[[], None] = lambda: None

    def dismiss(self, words: bytes) -> None:
        self.heard = words
        self.silent_since = None
        self.leave()


class World:
    def __init__(self, limits: Limits, processes: int) -> None:
        self.occupancy = Occupancy.create(limits.connections + 10)
        self.other_process = self.occupancy.seat(1)
        self.admission = Admission(limits, self.occupancy, self.occupancy.seat(0), b"go\r\n", processes=processes)

    def enter(self, host: str, silent_since: float | None = None) -> Guest:
        guest = Guest(silent_since)
        place = self.admission.enter(guest, host)
        guest.leave = lambda: self.admission.leave(place)
        return guest

    def refusal(self, host: str) -> str:
        with pytest.raises(PeerError) as refused:
            self.enter(host)
        return str(refused.value)


def in_world(limits: Limits, processes: int = 1) -> Callable[[Callable[[World], None]], None]:
    """Runs the test where there is a loop."""

    def run(test: Callable[[World], None]) -> None:
        async def main() -> None:
            world = World(limits, processes)
            test(world)
            world.occupancy.close()

        asyncio.run(main())

    return run


def test_the_network_with_most_of_them_makes_room() -> None:
    """A single client elsewhere stays, though it has been silent for longer than all of the flood."""

    def test(world: World) -> None:
        honest = world.enter("198.51.100.1", silent_since=1.0)
        flood = [world.enter(f"192.0.2.{number}", silent_since=10.0 - number) for number in range(5)]
        newcomers = [world.enter(host, silent_since=20.0) for host in ("203.0.113.1", "192.0.2.9")]
        assert [one.heard for one in flood] == [b"", b"", b"", b"go\r\n", b"go\r\n"]
        assert not any(one.heard for one in [honest, *newcomers])

    in_world(Limits(connections=6, connections_per_ip=6))(test)


def test_nobody_goes_for_a_network_that_has_more() -> None:
    """Who has logged in keeps the place, and a flood that has nobody to send away pushes out nobody else."""

    def test(world: World) -> None:
        honest = world.enter("198.51.100.1", silent_since=1.0)
        for number in range(5):
            world.enter(f"192.0.2.{number}")
        assert world.refusal("192.0.2.9") == FULL
        world.enter("203.0.113.1")
        assert honest.heard == b"go\r\n"

    in_world(Limits(connections=6, connections_per_ip=6))(test)


def test_a_flood_from_many_networks_does_not_reach_single_clients() -> None:
    """Also when it goes on and on: who came later from there goes before who is alone."""

    def test(world: World) -> None:
        honest = [world.enter(f"198.51.{number}.1", silent_since=float(number)) for number in range(4)]
        for number in range(200):
            world.enter(f"192.0.{number % 4}.{number}", silent_since=100.0 + number)
        assert not any(one.heard for one in honest)

    in_world(Limits(connections=20, connections_per_ip=20))(test)


def test_one_network_leaves_a_share_to_the_others() -> None:
    """However many addresses it has; of IPv6, a /64 counts as one address and a /48 as one network."""

    def test(world: World) -> None:
        for number in range(6):
            world.enter(f"192.0.2.{number}")
        assert world.refusal("192.0.2.100") == "too many connections from this network"
        world.enter("2001:db8:0:1::1")
        world.enter("2001:db8:0:1:ffff::2")
        assert world.refusal("2001:db8:0:1::3") == "too many connections from this address"

    in_world(Limits(connections=8, connections_per_ip=2))(test)


def test_an_address_may_have_what_the_spec_says() -> None:
    """A share of the network never takes away from the limit of one address."""

    def test(world: World) -> None:
        for _ in range(8):
            world.enter("127.0.0.1")
        assert world.refusal("127.0.0.1") == "too many connections from this address"

    in_world(Limits(connections=8, connections_per_ip=8))(test)


def test_a_process_leaves_some_to_the_others() -> None:
    """Who could send somebody away never takes the last places: another process may have nobody to send away."""

    def test(world: World) -> None:
        for number in range(200):
            world.enter(f"192.0.{number}.1", silent_since=float(number))
        assert world.occupancy.taken() == 30
        for number in range(2):
            world.enter(f"198.51.{number}.1")
        assert world.occupancy.taken() == 30

    in_world(Limits(connections=32, connections_per_ip=32), processes=2)(test)


def test_where_nobody_can_go_all_places_are_taken() -> None:
    """The limit is the limit: none of those who have logged in is kept out for the sake of other processes."""

    def test(world: World) -> None:
        for number in range(32):
            world.enter(f"192.0.{number}.1")
        assert world.refusal("198.51.100.1") == FULL

    in_world(Limits(connections=32, connections_per_ip=32), processes=2)(test)


def test_connections_of_other_processes_count() -> None:
    """Each limit is the service's, not the process's."""

    def test(world: World) -> None:
        world.enter("192.0.2.1")
        for _ in range(2):
            world.other_process.take(mark_of("192.0.2.1"))
        assert world.refusal("192.0.2.1") == "too many connections from this address"
        world.other_process.take(7)
        assert world.refusal("203.0.113.1") == FULL

    in_world(Limits(connections=4, connections_per_ip=3))(test)


def test_a_balancers_client_takes_its_place() -> None:
    """From the header on it counts for the client; who waits for a header counts against no address."""

    def test(world: World) -> None:
        places = [world.admission.enter(Guest(None), "10.0.0.1", for_another=True) for _ in range(3)]
        world.admission.rename(places[0], "192.0.2.1")
        world.admission.rename(places[1], "192.0.2.1")
        with pytest.raises(PeerError, match="from this address"):
            world.admission.rename(places[2], "192.0.2.1")
        world.admission.leave(places[0])
        world.admission.leave(places[0])
        assert world.occupancy.taken() == 2
        world.admission.rename(places[2], "192.0.2.1")

    in_world(Limits(connections=10, connections_per_ip=2))(test)


def test_refusals_do_not_fill_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of each address is told at once, the others as a number; addresses beyond a bound together."""
    told = list[tuple[str, str, int | None]]()

    def refused(*, peer: str, reason: str, times: int | None = None) -> None:
        told.append((peer, reason, times))

    monkeypatch.setattr(maillog, "refused", refused)

    def test(world: World) -> None:
        for _ in range(1000):
            world.admission.note_refusal("192.0.2.1", FULL)
        world.admission.note_refusal("192.0.2.2", FULL)
        assert told == [("192.0.2.1", FULL, None), ("192.0.2.2", FULL, None)]
        world.admission._sum_up()
        assert told[2:] == [("192.0.2.1", FULL, 999)]
        told.clear()
        for number in range(REMEMBERED + 500):
            world.admission.note_refusal(f"192.{number >> 8}.2.{number & 255}", FULL)
        assert told[-1] == ("others", FULL, None) and len(told) == REMEMBERED + 1

    in_world(Limits())(test)
