"""Steps and parts: what ends with a failure, and what a report says."""

from pathlib import Path

from maillib.errors import Transient
from orchestrator.rehearse.report import Report, Result, Step, Unexpected


def fail(error: Exception) -> None:
    """As something in a step may."""
    raise error


def report() -> tuple[Report, list[Step]]:
    told: list[Step] = []
    return Report(tell=told.append, logs=Path("/logs")), told


def test_a_failed_step_ends_its_part_alone() -> None:
    """What comes after it in the part is not tried; other parts are. It says what was expected, what came, and where
    the log is."""
    made, told = report()
    with made.part("pop", "127.0.0.1:110") as part:
        with part.step("greets"):
            pass
        with part.step("takes log-in"):
            fail(Unexpected("+OK", "-ERR no"))
        with part.step("lists"):
            fail(AssertionError("nobody gets here"))
    with made.part("suite") as part, part.step("stops"):
        fail(Transient("line one\nline two"))
    with made.part("smtp") as part:
        part.skip("relays", "nobody asked")
    assert [(step.service, step.name, step.result) for step in told] == [
        ("pop", "127.0.0.1:110: greets", Result.PASSED),
        ("pop", "127.0.0.1:110: takes log-in", Result.FAILED),
        ("suite", "stops", Result.FAILED),
        ("smtp", "relays", Result.SKIPPED),
    ]
    assert (told[1].expected, told[1].came, told[1].log) == ("+OK", "-ERR no", Path("/logs/pop.log"))
    assert (told[2].expected, told[2].came) == ("stops", "line one; line two")
    assert told[2].log == Path("/logs/supervisord.log")
    assert not made.passed and made.as_json()["result"] == "failed"


def test_a_part_ends_with_an_error_within_another() -> None:
    """A failure of the inner part does not end the outer one."""
    made, told = report()
    with made.part("suite") as outer:
        with made.part("pop") as inner, inner.step("greets"):
            fail(OSError("refused"))
        with outer.step("goes on"):
            pass
    assert [step.result for step in told] == [Result.FAILED, Result.PASSED]


def test_nothing_tried_is_nothing_passed() -> None:
    """A rehearsal in which everything was skipped, or nothing was there, is no green one."""
    made, _ = report()
    assert not made.passed
    with made.part("pop") as part:
        part.skip("greets", "off")
        assert not made.passed
        with part.step("greets"):
            pass
    assert made.passed
