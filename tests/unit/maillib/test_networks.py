"""Addresses and the networks they are in."""

import pytest

from maillib.networks import Networks

NETWORKS = Networks(["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/33", "::1/128"])


@pytest.mark.parametrize("host", ["10.0.0.0", "10.255.255.255", "192.0.2.7", "2001:db8:7fff::1", "::1", "::1%lo"])
def test_an_address_in_a_network_is_found(host: str) -> None:
    """From the first address to the last, of both families."""
    assert host in NETWORKS


@pytest.mark.parametrize(
    "host", ["9.255.255.255", "11.0.0.0", "192.0.2.8", "2001:db8:8000::", "::2", "0.0.0.1", "a00::"]
)
def test_an_address_beside_it_is_not(host: str) -> None:
    """Nor is one of the other family with the same number."""
    assert host not in NETWORKS


def test_no_network_holds_nobody() -> None:
    """And says so."""
    assert not Networks([]) and "10.0.0.1" not in Networks([])
