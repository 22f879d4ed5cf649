"""Headers of the PROXY protocol, version 2, as balancers make them."""

from maillib.protocols.proxy import crc32c

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


def tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind]) + len(value).to_bytes(2) + value


def header_v2(command: int, family: int, body: bytes, *, checksum: bool = False) -> bytes:
    """`checksum`: the body ends with a blank one."""
    header = SIGNATURE + bytes([command, family]) + len(body).to_bytes(2) + body
    return header[:-4] + crc32c(header).to_bytes(4) if checksum else header
