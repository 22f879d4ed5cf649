"""Queue IDs: what can be read from them."""

from hypothesis import given
from hypothesis import strategies as st

from maillib.embedded.queue_ids import is_id, new_id, time_of
from maillib.ports.queue import QueueId

times = st.floats(0, 30_000_000_000)


@given(first=times, second=times)
def test_ids_sort_by_time(first: float, second: float) -> None:
    """An ID is valid, says its time, and a later one sorts later."""
    ids = [new_id(first), new_id(second)]
    assert all(is_id(queue_id) and len(queue_id) == 16 for queue_id in ids)
    assert abs(time_of(ids[0]) - first) < 0.001
    if abs(first - second) > 1:
        assert (ids[0] < ids[1]) == (first < second)


@given(text=st.text(max_size=40))
def test_any_text(text: str) -> None:
    """Nothing but letters and digits of ASCII is an ID, and the time of any text is a number."""
    assert is_id(text) == (1 <= len(text) <= 32 and text.isascii() and text.isalnum())
    assert time_of(QueueId(text)) >= 0
