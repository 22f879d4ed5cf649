"""The JUnit file: what GitHub, GitLab and Jenkins are given."""

from pathlib import Path
from xml.etree import ElementTree

from orchestrator.rehearse import junit
from orchestrator.rehearse.report import Report, Unexpected


def fail(error: Exception) -> None:
    """As something in a step may."""
    raise error


REQUIRED = {
    "testsuite": {"id", "package", "name", "timestamp", "hostname", "tests", "failures", "errors", "time"},
    "testcase": {"name", "classname", "time"},
    "failure": {"type"},
    "error": {"type"},
}
"""Attributes that the schema of Ant's JUnit task wants."""

CHILDREN = {
    "testsuites": ["testsuite"],
    "testsuite": ["properties", "testcase", "system-out", "system-err"],
    "testcase": ["skipped", "error", "failure"],
}
"""Elements in the order of that schema."""


def check_schema(root: ElementTree.Element) -> None:
    for element in root.iter():
        assert REQUIRED.get(element.tag, set()) <= set(element.keys())
        order = CHILDREN.get(element.tag, [])
        places = [order.index(child.tag) for child in element]
        assert places == sorted(places)
        if element.tag == "testsuite":
            assert {"properties", "system-out", "system-err"} <= {child.tag for child in element}
            for tag, count in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
                assert int(element.attrib[count]) == sum(1 for _ in element.iter(tag))
            assert int(element.attrib["tests"]) == sum(1 for _ in element.iter("testcase"))


def test_every_result_is_in_it_and_it_keeps_to_the_schema(tmp_path: Path) -> None:
    """Passed, failed with the end of the log, skipped, and an error; whatever octets a peer said."""
    (tmp_path / "pop.log").write_text("".join(f"line {number}\x00\n" for number in range(100)))
    report = Report(tell=lambda step: None, logs=tmp_path, remarks=["one & only"])
    with report.part("pop", "[::1]:110") as part:
        part.skip("turns to TLS", 'no "TLS" here')
        with part.step("greets"):
            pass
        with part.step("takes log-in"):
            fail(Unexpected("+OK", "<\x1b[31m\ud800\ufffe>"))
    path = tmp_path / "new" / "report.xml"
    junit.write(path, report, error="it was ended\x07")
    root = ElementTree.fromstring(path.read_bytes())
    check_schema(root)
    failure, error = root.find(".//failure"), root.find(".//error")
    assert failure is not None and failure.text is not None and error is not None
    assert failure.attrib["message"] == "expected +OK; came <?[31m??>"
    assert failure.text.endswith("line 98?\nline 99?") and "line 1?" not in failure.text
    assert error.attrib["message"] == "it was ended?"
    assert [case.attrib["classname"] for case in root.iter("testcase")] == ["postroom.pop"] * 3 + ["postroom.suite"]
    assert list(tmp_path.glob("new/*")) == [path]


def test_a_failure_without_a_log_is_told_all_the_same(tmp_path: Path) -> None:
    """The service may not have come so far as to have one."""
    report = Report(tell=lambda step: None, logs=tmp_path)
    with report.part("suite") as part, part.step("comes up"):
        fail(Unexpected("a suite", "none"))
    root = ElementTree.fromstring(junit.document(report, error=None))
    check_schema(root)
    assert root.find(".//failure") is not None
