"""When a recipient is tried again."""

from datetime import UTC, datetime, timedelta

import pytest

from maillib.sessions.retrying import RetryPolicy

QUEUED = datetime(2026, 3, 1, tzinfo=UTC)
POLICY = RetryPolicy((timedelta(minutes=5), timedelta(hours=1)), timedelta(days=1))


@pytest.mark.parametrize(
    ("attempts", "chance", "wait"),
    [
        (1, 0.5, timedelta(minutes=5)),
        (1, 0.0, timedelta(minutes=4, seconds=30)),
        (1, 1.0, timedelta(minutes=5, seconds=30)),
        (2, 0.5, timedelta(hours=1)),
        (50, 0.5, timedelta(hours=1)),
    ],
)
def test_wait(attempts: int, chance: float, wait: timedelta) -> None:
    """The wait is that of the attempt, the last one repeats, give or take a tenth."""
    assert abs(POLICY.next_attempt(QUEUED, QUEUED, attempts, chance) - QUEUED - wait) < timedelta(milliseconds=1)


def test_the_moment_of_giving_up_is_an_attempt() -> None:
    """No wait reaches beyond it, and an attempt from then on is the last one."""
    end = QUEUED + timedelta(days=1)
    assert POLICY.next_attempt(end - timedelta(minutes=1), QUEUED, 9, 0.5) == end
    assert not POLICY.is_last(end - timedelta(microseconds=1), QUEUED)
    assert POLICY.is_last(end, QUEUED)
    assert POLICY.next_attempt(end, QUEUED, 1, 0.5) == end + timedelta(minutes=5)
