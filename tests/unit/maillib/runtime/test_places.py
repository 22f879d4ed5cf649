"""Folders and log of a service."""

import dataclasses
import os
from pathlib import Path

import pytest

from maillib import control
from maillib.errors import ConfigError
from maillib.runtime import places
from maillib.settings.pop import PopSettings
from maillib.settings.service import Limits, ServiceConfig, Stop


@pytest.fixture
def config(tmp_path: Path) -> ServiceConfig:
    state_dir = tmp_path / "deep" / "var"
    return ServiceConfig(
        name="pop",
        protocol="pop",
        hostname="mail.example.test",
        state_dir=os.fspath(state_dir),
        run_dir=os.fspath(control.run_dir(state_dir)),
        processes=1,
        user=None,
        listen=(),
        stop=Stop(),
        limits=Limits(),
        tls=None,
        settings=PopSettings(),
    )


def test_a_large_log_is_shifted_and_the_oldest_goes(config: ServiceConfig) -> None:
    """Five old logs are kept, each one number older after a rotation; the new one is empty."""
    places.prepare(config)
    log = places.log_file(config)
    for round_ in range(places.LOGS_KEPT + 2):
        log.write_text(f"round {round_}\n")
        os.truncate(log, places.LOG_OCTETS)
        assert places.rotate_log(config)
    found = {path.name: path.read_text()[:7] for path in log.parent.iterdir()}
    kept = {f"pop.log.{number}": f"round {places.LOGS_KEPT + 2 - number}" for number in range(1, places.LOGS_KEPT + 1)}
    assert found == {"pop.log": "", **kept}


def test_a_small_log_stays(config: ServiceConfig) -> None:
    """Below the limit nothing is touched."""
    places.prepare(config)
    places.log_file(config).write_text("one line\n")
    assert not places.rotate_log(config)
    assert places.log_file(config).read_text() == "one line\n"


def test_folders_are_closed_to_others(config: ServiceConfig) -> None:
    """What is made is open to owner and group only."""
    os.umask(0o027)
    places.prepare(config)
    for path in (Path(config.state_dir), *Path(config.state_dir).rglob("*"), *Path(config.run_dir).rglob("*")):
        assert path.stat().st_mode & 0o007 == 0, path


def test_an_unknown_user_is_named(config: ServiceConfig) -> None:
    """The master's words say which user does not exist."""
    if os.geteuid() != 0:
        pytest.skip("only root drops to another user")
    with pytest.raises(ConfigError, match="nobody-at-all"):
        places.prepare(dataclasses.replace(config, user="nobody-at-all"))
