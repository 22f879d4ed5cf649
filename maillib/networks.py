"""Networks of IP addresses: whether an address is in one of those that a listener names."""

import socket
from collections.abc import Iterable


class Networks:
    """`10.0.0.0/8`, `2001:db8::/32`, in their shortest form, as the validator leaves them."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [_parsed(network) for network in networks]

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, host: str) -> bool:
        """`host` is an address as the kernel writes it."""
        packed = packed_address(host)
        number = int.from_bytes(packed)
        return any(
            octets == len(packed) and number >> free_bits == prefix for octets, free_bits, prefix in self._networks
        )


def packed_address(host: str) -> bytes:
    """4 or 16 octets. A scope (`%eth0`) counts for nothing. Raises OSError when `host` is no IP address."""
    if ":" in host:
        return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return socket.inet_pton(socket.AF_INET, host)


def _parsed(network: str) -> tuple[int, int, int]:
    """Octets of an address, bits that are free within the network, and the bits before them."""
    host, _, length = network.partition("/")
    packed = packed_address(host)
    free_bits = len(packed) * 8 - int(length)
    return len(packed), free_bits, int.from_bytes(packed) >> free_bits
