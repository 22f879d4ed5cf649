"""The folders and the log file of one service: made, owned and rotated by its master."""

import os
from pathlib import Path

from maillib import control
from maillib.errors import ConfigError
from maillib.settings.service import ServiceConfig

LOG_OCTETS = 10 * 1024 * 1024
"""A log that has reached this is rotated."""

LOGS_KEPT = 5


def log_file(config: ServiceConfig) -> Path:
    return Path(config.state_dir) / "log" / f"{config.name}.log"


def prepare(config: ServiceConfig) -> None:
    """Make what is missing. What workers write to belongs to the user they drop to; the way there is open to its group.

    The folder of the master's own sockets stays the master's: else a worker could answer in its place.

    Raises ConfigError when the user does not exist, or when others may write to the state directory or to the folder
    of sockets.
    """
    run, log = Path(config.run_dir), log_file(config)
    Path(config.state_dir).mkdir(mode=0o750, parents=True, exist_ok=True)
    control.refuse_dir_of_others(Path(config.state_dir))
    control.make_run_dir(run)
    folder, workers = control.service_dir(run, config.name), control.workers_dir(run, config.name)
    for path in (log.parent, folder.parent, folder, workers):
        path.mkdir(mode=0o750, exist_ok=True)
    log.touch(mode=0o640)
    if config.user is None or os.geteuid() != 0:
        return
    import pwd

    try:
        entry = pwd.getpwnam(config.user)
    except KeyError:
        raise ConfigError(f"user {config.user!r} does not exist on this host") from None
    control.open_run_dir(run, entry.pw_gid)
    for way in (folder.parent, folder, log.parent):
        os.chown(way, os.geteuid(), entry.pw_gid)
    for own in (workers, log):
        os.chown(own, entry.pw_uid, entry.pw_gid)


def rotate_log(config: ServiceConfig) -> bool:
    """When the log has grown large: shift the older ones by one number and begin a new one. Whether that was done."""
    log = log_file(config)
    if log.stat().st_size < LOG_OCTETS:
        return False
    for number in range(LOGS_KEPT - 1, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        if older.exists():
            older.rename(log.with_name(f"{log.name}.{number + 1}"))
    log.rename(log.with_name(f"{log.name}.1"))
    prepare(config)
    return True
