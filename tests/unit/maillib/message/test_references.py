"""Message ids: which are read, and in what order."""

import pytest

from maillib.message.references import message_ids, own_id, references


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        (b"<a@x>", ["a@x"]),
        (b"<a@x> <b@y>, junk <c@z>", ["a@x", "b@y", "c@z"]),
        (b'<"01KF8JCEOCBS0045PS"@xxx.yyy.com>', ["01KF8JCEOCBS0045PS@xxx.yyy.com"]),
        (b'<"a\\"b"@x>', ['a"b@x']),
        (b"< a@[1.2.3.4] >", ["a@[1.2.3.4]"]),
        (b"<a> <> <@x> <a@> a@x <a b@x>", []),
        (b"<" * 100_000, []),
        (b'<"' * 100_000, []),
        (b"<a@" * 100_000, []),
    ],
)
def test_message_ids(value: bytes, ids: list[str]) -> None:
    """What is no id is passed over; quotes make no difference. RFC 5256 §2.2."""
    assert message_ids(value) == ids


def test_what_a_message_follows() -> None:
    """References count, else the first id of In-Reply-To."""
    both = [(b"in-reply-to", b"<c@x> <d@x>"), (b"references", b"<a@x> <b@x>"), (b"message-id", b"none <e@x>")]
    assert references(both) == ["a@x", "b@x"]
    assert references(both[:1]) == ["c@x"]
    assert references(both[2:]) == []
    assert own_id(both) == "e@x"
    assert own_id(both[:2]) is None
    assert len(references([(b"references", b"<a@x> " * 5000)])) == 1000
