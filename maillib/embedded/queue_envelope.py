"""ID.json: the envelope of a queued message as text that a person can read, and back.

Guarantees: `decode(encode(x)) == x`; no file, whatever is in it, raises anything but StoreUnusable; what a newer
version wrote is refused, not guessed at.

    {
      "version": 1,
      "id": "06EKXK0ZQW2T7V3A",
      "queued": "2026-11-25T13:51:56.123456Z",
      "sender": "alice@example.test",            null: the null reverse-path
      "account": 1,                              who had logged in; null: nobody
      "peer": "192.0.2.1",
      "body_8bit": true,
      "smtputf8": false,
      "size_octets": 2304,                       of ID.eml
      "recoveries": 0,                           processes in a row that died while they had it
      "recipients": [                            one a line
        {"address": "bob@example.test", "state": "deferred", "attempts": 2, "last_reply": "4.2.2 ...", "original": null}
      ]
    }
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar, Union

from maillib.address import Address
from maillib.errors import AddressError, StoreUnusable
from maillib.ports.directory import AccountId
from maillib.ports.queue import Envelope, QueueId, Recipient, RecipientState

VERSION = 1

MAX_OCTETS = 64 * 1024 * 1024
"""Above what 50,000 recipients (the most that SMTP can be set to) with the longest addresses and replies need."""

_LARGEST = 2**63 - 1
"""Number in an envelope: no counter gets there, and databases have no larger ones."""

_Json = Union[None, bool, int, float, str, list["_Json"], dict[str, "_Json"]]  # noqa: UP007 - recursive
_Object = Mapping[str, _Json]
T = TypeVar("T", str, int, bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEnvelope:
    """What ID.json holds."""

    id: QueueId
    envelope: Envelope
    size_octets: int
    recoveries: int = 0


_quoted = json.JSONEncoder(ensure_ascii=False).encode


def encode(stored: StoredEnvelope) -> bytes:
    """A line for each field and each recipient. Put together here: the encoder that indents takes ten times as long."""
    envelope = stored.envelope
    queued = envelope.queued.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    recipients = ",\n".join(
        f'    {{"address": {_quoted(str(one.address))}, "state": "{one.state.value}", "attempts": {one.attempts},'
        f' "last_reply": {_or_null(one.last_reply)}, "original": {_or_null(one.original)}}}'
        for one in envelope.recipients
    )
    text = f"""{{
  "version": {VERSION},
  "id": "{stored.id}",
  "queued": "{queued}",
  "sender": {_or_null(envelope.sender)},
  "account": {"null" if envelope.account is None else envelope.account},
  "peer": {_quoted(envelope.peer)},
  "body_8bit": {"true" if envelope.body_8bit else "false"},
  "smtputf8": {"true" if envelope.smtputf8 else "false"},
  "size_octets": {stored.size_octets},
  "recoveries": {stored.recoveries},
  "recipients": [
{recipients}
  ]
}}
"""
    return text.encode("utf-8", "backslashreplace")  # a lone surrogate becomes the escape that JSON has for it


def _or_null(value: Address | str | None) -> str:
    return "null" if value is None else _quoted(str(value))


def decode(octets: bytes, queue_id: QueueId) -> StoredEnvelope:
    """Raises StoreUnusable that says what is wrong with the file of `queue_id`."""
    try:
        data = _parse(octets)
        if data.get("version") != VERSION:
            raise StoreUnusable(f"version {data.get('version')!r}; this program knows {VERSION}")
        if data.get("id") != queue_id:
            raise StoreUnusable(f"the ID in it is {data.get('id')!r}")
        return StoredEnvelope(
            id=queue_id,
            envelope=_envelope(data),
            size_octets=_number(data, "size_octets"),
            recoveries=_number(data, "recoveries"),
        )
    except (AddressError, StoreUnusable) as error:
        raise StoreUnusable(f"{queue_id}.json: {error}") from None


def _parse(octets: bytes) -> _Object:
    try:
        data: _Json = json.loads(octets)
    except (ValueError, RecursionError) as error:
        raise StoreUnusable(f"no JSON: {error}") from None
    if not isinstance(data, dict):
        raise StoreUnusable("no JSON object")
    return data


def _envelope(data: _Object) -> Envelope:
    recipients = data.get("recipients")
    if not isinstance(recipients, list) or not recipients:
        raise StoreUnusable("no recipients")
    account = None if data.get("account") is None else _number(data, "account")
    return Envelope(
        sender=_optional_address(data, "sender"),
        recipients=tuple(_recipient(one) for one in recipients),
        queued=_time(_need(data, "queued", str)),
        account=None if account is None else AccountId(account),
        peer=_need(data, "peer", str),
        body_8bit=_need(data, "body_8bit", bool),
        smtputf8=_need(data, "smtputf8", bool),
    )


def _recipient(data: _Json) -> Recipient:
    if not isinstance(data, dict):
        raise StoreUnusable("a recipient is no object")
    return Recipient(
        address=Address.parse(_need(data, "address", str)),
        state=_state(_need(data, "state", str)),
        attempts=_number(data, "attempts"),
        last_reply=_optional(data, "last_reply", str),
        original=_optional_address(data, "original"),
    )


def _need(data: _Object, key: str, kind: type[T]) -> T:
    value = data.get(key)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise StoreUnusable(f"{key} is no {kind.__name__}")
    return value


def _number(data: _Object, key: str) -> int:
    value = _need(data, key, int)
    if value < 0:
        raise StoreUnusable(f"{key} is negative")
    if value > _LARGEST:
        raise StoreUnusable(f"{key} has more than 63 bits")
    return value


def _optional(data: _Object, key: str, kind: type[T]) -> T | None:
    return None if data.get(key) is None else _need(data, key, kind)


def _optional_address(data: _Object, key: str) -> Address | None:
    text = _optional(data, key, str)
    return None if text is None else Address.parse(text)


def _state(text: str) -> RecipientState:
    try:
        return RecipientState(text)
    except ValueError:
        raise StoreUnusable(f"recipient state {text!r} is unknown") from None


def _time(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise StoreUnusable(f"queued {text!r} is no time") from None
    if when.tzinfo is None:
        raise StoreUnusable(f"queued {text!r} has no zone")
    try:
        return when.astimezone(UTC)
    except OverflowError:
        raise StoreUnusable(f"queued {text!r} is before or after all times") from None
