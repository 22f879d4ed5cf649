"""Folders and log of a service."""

import dataclasses
import os
from pathlib import Path

import pytest

from maillib import control
from maillib.errors import ConfigError
from maillib.runtime import folders
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
    folders.prepare(config)
    log = folders.log_file(config)
    for round_ in range(folders.LOGS_KEPT + 2):
        log.write_text(f"round {round_}\n")
        os.truncate(log, folders.LOG_OCTETS)
        assert folders.rotate_log(config)
    found = {path.name: path.read_text()[:7] for path in log.parent.iterdir()}
    kept = {
        f"pop.log.{number}": f"round {folders.LOGS_KEPT + 2 - number}" for number in range(1, folders.LOGS_KEPT + 1)
    }
    assert found == {"pop.log": "", **kept}


def test_a_small_log_stays(config: ServiceConfig) -> None:
    """Below the limit nothing is touched."""
    folders.prepare(config)
    folders.log_file(config).write_text("one line\n")
    assert not folders.rotate_log(config)
    assert folders.log_file(config).read_text() == "one line\n"


def test_folders_are_closed_to_others(config: ServiceConfig) -> None:
    """What is made is open to owner and group only."""
    os.umask(0o027)
    folders.prepare(config)
    for path in (Path(config.state_dir), *Path(config.state_dir).rglob("*"), *Path(config.run_dir).rglob("*")):
        assert path.stat().st_mode & 0o007 == 0, path


def test_an_unknown_user_is_named(config: ServiceConfig) -> None:
    """The master's words say which user does not exist."""
    if os.geteuid() != 0:
        pytest.skip("only root drops to another user")
    with pytest.raises(ConfigError, match="nobody-at-all"):
        folders.prepare(dataclasses.replace(config, user="nobody-at-all"))


@pytest.mark.parametrize("mode", [0o757, 0o772])
def test_a_state_directory_that_others_may_write_to_is_refused(config: ServiceConfig, mode: int) -> None:
    """Where somebody else can leave a link to anywhere in the place of a log, nothing is written."""
    state_dir = Path(config.state_dir)
    state_dir.mkdir(parents=True)
    state_dir.chmod(mode)
    with pytest.raises(ConfigError, match="others may write"):
        folders.prepare(config)
    assert not list(state_dir.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a directory somebody else's")
def test_a_state_directory_of_somebody_else_is_refused(config: ServiceConfig) -> None:
    """Root does not work in a folder whose owner may exchange what is in it; nor where a foreign group may."""
    state_dir = Path(config.state_dir)
    state_dir.mkdir(parents=True)
    os.chown(state_dir, 65534, -1)
    with pytest.raises(ConfigError, match="belongs to somebody else"):
        folders.prepare(config)
    os.chown(state_dir, 0, 65534)
    state_dir.chmod(0o770)
    with pytest.raises(ConfigError, match="others may write"):
        folders.prepare(config)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop to another user")
def test_workers_own_their_files_and_not_their_masters(config: ServiceConfig) -> None:
    """What a worker's user may exchange are records and sockets of workers, and no name that a master opens."""
    config = dataclasses.replace(config, user="nobody")
    folders.prepare(config)
    run = Path(config.run_dir)
    owners = {
        control.workers_dir(run, "pop"): 65534,
        control.service_dir(run, "pop"): 0,
        run / "services": 0,
        run: 0,
        folders.log_file(config).parent: 0,
        folders.log_file(config): 65534,
    }
    assert {path: path.stat().st_uid for path in owners} == owners
