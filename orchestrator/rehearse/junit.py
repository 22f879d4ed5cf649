"""A rehearsal as JUnit XML, in the form that GitHub, GitLab and Jenkins read.

The file satisfies the schema of Ant's JUnit task, the strictest one in use, as well as Jenkins' own.
"""

import socket
import time
from pathlib import Path
from xml.etree import ElementTree

from orchestrator.rehearse.report import Report, Result, Step

_LOG_LINES = 30
"""Of a failed step's service: where the file is read, the log is often gone."""


def write(path: Path, report: Report, *, error: str | None) -> None:
    """Write the file, and the folder it is to be in. `error`: what ended the rehearsal before its time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.tmp")
    aside.write_bytes(document(report, error=error))
    aside.replace(path)


def document(report: Report, *, error: str | None) -> bytes:
    root = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        id="0",
        package="postroom",
        name="rehearsal",
        timestamp=time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(report.begun)),
        hostname=_clean(socket.gethostname()),
        tests=str(len(report.steps) + (error is not None)),
        failures=str(report.count(Result.FAILED)),
        errors=str(int(error is not None)),
        skipped=str(report.count(Result.SKIPPED)),
        time=f"{report.took_s:.3f}",
    )
    ElementTree.SubElement(suite, "properties")
    for step in report.steps:
        _case(suite, step)
    if error is not None:
        case = ElementTree.SubElement(suite, "testcase", classname="postroom.suite", name="rehearsal", time="0")
        ElementTree.SubElement(case, "error", type="error", message=_clean(error)).text = _clean(error)
    ElementTree.SubElement(suite, "system-out").text = _clean("\n".join(report.remarks))
    ElementTree.SubElement(suite, "system-err")
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _case(suite: ElementTree.Element, step: Step) -> None:
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=f"postroom.{step.service}",
        name=_clean(step.name),
        time=f"{step.ms / 1000:.3f}",
    )
    if step.result is Result.SKIPPED:
        ElementTree.SubElement(case, "skipped", message=_clean(step.came or ""))
    elif step.result is Result.FAILED:
        message = _clean(f"expected {step.expected}; came {step.came}")
        failure = ElementTree.SubElement(case, "failure", type="failure", message=message)
        failure.text = _clean("\n".join([message, f"log: {step.log}", *_tail(step.log)]))


def _tail(log: Path | None) -> list[str]:
    try:
        return [] if log is None else log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
    except OSError:
        return []  # the service has not come so far


def _clean(text: str) -> str:
    """What may stand in XML. XML 1.0 §2.2."""
    return "".join(char if char in "\t\n" or (char >= " " and not _is_forbidden(char)) else "?" for char in text)


def _is_forbidden(char: str) -> bool:
    return "\ud800" <= char <= "\udfff" or char in "\ufffe\uffff"
