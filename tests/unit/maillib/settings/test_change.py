"""What a change of a setting costs is declared beside it."""

import dataclasses

import pytest

from maillib.settings.change import Change, between, dearest, declared
from maillib.settings.pop import PopSettings
from maillib.settings.service import (
    SETTINGS,
    Limits,
    Listener,
    ServiceCommon,
    ServiceConfig,
    Stop,
    TlsFiles,
    change_of,
)

CONFIG = ServiceConfig(
    name="pop",
    protocol="pop",
    hostname="mail.example.test",
    state_dir="/var",
    run_dir="/var/run",
    processes=1,
    user=None,
    listen=(Listener(host="127.0.0.1", port=2110, tls="none"),),
    stop=Stop(),
    limits=Limits(),
    tls=None,
    settings=PopSettings(),
)


@pytest.mark.parametrize("kind", [*SETTINGS.values(), Stop, Limits])
def test_every_key_declares_its_class(kind: type) -> None:
    """A setting without a class of its own would be a guess."""
    assert declared(kind).keys() == {field.name for field in dataclasses.fields(kind)}


def test_what_a_service_has_besides_is_declared_or_has_parts_that_are() -> None:
    """Only who it is, where it is, and what consists of parts has no class."""
    names = {field.name for field in dataclasses.fields(ServiceCommon)}
    assert names - declared(ServiceCommon).keys() == {"name", "state_dir", "run_dir", "stop", "limits"}


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("limits/connections", Change.LIVE),
        ("stop/drain", Change.LIVE),
        ("settings/max_errors", Change.LIVE),
        ("listen/0/port", Change.RELISTEN),
        ("listen", Change.RELISTEN),
        ("tls", Change.RELOAD),
        ("tls/certificate", Change.RELOAD),
        ("stop/signal", Change.RESTART),
        ("stop", Change.RELOAD),
        ("settings/of_another_version", Change.RELOAD),
        ("of_another_version", Change.RELOAD),
    ],
)
def test_a_key_is_found_by_its_path(path: str, change: Change) -> None:
    """Parts of a field have its class unless they have their own; what nobody declares needs new workers."""
    assert change_of("pop", path.split("/")) is change


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({}, None),
        ({"limits": Limits(connections=7)}, Change.LIVE),
        ({"limits": Limits(connections=7), "listen": ()}, Change.RELISTEN),
        ({"limits": Limits(memory=100_000_000), "listen": ()}, Change.RELOAD),
        ({"tls": TlsFiles(certificate="c", private_key="k")}, Change.RELOAD),
        ({"stop": Stop(drain=1.0, signal="INT")}, Change.RESTART),
    ],
)
def test_of_several_changes_the_dearest_decides(changes: dict[str, object], needed: Change | None) -> None:
    """Two configurations differ by as much as the key that costs most."""
    assert dearest(between(CONFIG, dataclasses.replace(CONFIG, **changes))) is needed  # type: ignore[arg-type]
