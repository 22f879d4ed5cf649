"""ID.json: text and back."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maillib.address import Address
from maillib.embedded.queue_envelope import StoredEnvelope, decode, encode
from maillib.errors import StoreUnusable
from maillib.ports.directory import AccountId
from maillib.ports.queue import Envelope, QueueId, Recipient, RecipientState

ID = QueueId("0123ABCD")

addresses = st.sampled_from(["a@x.test", '"a b"@x.test', "jürgen@xn--bcher-kva.test", "a@[192.0.2.1]"]).map(
    Address.parse
)
recipients = st.builds(
    Recipient,
    address=addresses,
    state=st.sampled_from(RecipientState),
    attempts=st.integers(0, 10**6),
    last_reply=st.none() | st.text(),
    original=st.none() | addresses,
)
envelopes = st.builds(
    Envelope,
    sender=st.none() | addresses,
    recipients=st.lists(recipients, min_size=1, max_size=4).map(tuple),
    queued=st.datetimes(timezones=st.just(UTC)),
    account=st.none() | st.integers(1, 2**62).map(AccountId),
    peer=st.text(),
    body_8bit=st.booleans(),
    smtputf8=st.booleans(),
)


@given(envelope=envelopes, size=st.integers(0, 2**50), recoveries=st.integers(0, 9))
def test_round_trip(envelope: Envelope, size: int, recoveries: int) -> None:
    """What is written is read back equal, and every line of it can be printed."""
    stored = StoredEnvelope(id=ID, envelope=envelope, size_octets=size, recoveries=recoveries)
    octets = encode(stored)
    assert decode(octets, ID) == stored
    assert octets.endswith(b"}\n")


def sample() -> dict[str, object]:
    envelope = Envelope(
        sender=Address.parse("a@x.test"),
        recipients=(Recipient(address=Address.parse("b@x.test")),),
        queued=datetime(2026, 3, 1, tzinfo=UTC),
        account=None,
        peer="192.0.2.1",
    )
    data = json.loads(encode(StoredEnvelope(id=ID, envelope=envelope, size_octets=10)))
    assert isinstance(data, dict)
    return data


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", 2),
        ("version", None),
        ("id", "OTHER"),
        ("queued", "yesterday"),
        ("queued", "2026-03-01T00:00:00"),
        ("queued", "0001-01-01T00:00:00+14:00"),
        ("queued", "9999-12-31T23:59:59-14:00"),
        ("queued", 5),
        ("sender", "no address"),
        ("sender", "a@x.test\r\nBcc: b@x.test"),
        ("sender", 1),
        ("account", "alice"),
        ("account", True),
        ("account", -1),
        ("account", 2**63),
        ("peer", None),
        ("body_8bit", 1),
        ("smtputf8", None),
        ("size_octets", -1),
        ("size_octets", 2**63),
        ("size_octets", "10"),
        ("recoveries", None),
        ("recipients", []),
        ("recipients", {}),
        ("recipients", ["b@x.test"]),
        ("recipients", [{}]),
        ("recipients", [{"address": "b@x.test", "state": "lost", "attempts": 0}]),
        ("recipients", [{"address": "b@x.test", "state": "queued", "attempts": True}]),
        ("recipients", [{"address": "b@x.test", "state": "queued", "attempts": 10**300}]),
    ],
)
def test_wrong_values(key: str, value: object) -> None:
    """A value that cannot be is refused, never guessed at, and the error names the file."""
    with pytest.raises(StoreUnusable, match=r"^0123ABCD\.json: "):
        decode(json.dumps(sample() | {key: value}).encode(), ID)


@given(octets=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_octets(octets: bytes) -> None:
    """No file raises anything else, whatever is in it."""
    with pytest.raises(StoreUnusable):
        decode(octets, ID)


@pytest.mark.parametrize("octets", [b"[" * 200_000, b'{"a":' * 100_000, b"1" * 10_000, b"null", b"\xff\xfe{}"])
def test_hostile_json(octets: bytes) -> None:
    """Deep nesting and endless numbers are refused like any other damage."""
    with pytest.raises(StoreUnusable):
        decode(octets, ID)


def test_every_truncation() -> None:
    """A file cut anywhere before its closing brace is refused."""
    octets = json.dumps(sample()).encode()
    for length in range(len(octets)):
        with pytest.raises(StoreUnusable):
            decode(octets[:length], ID)
