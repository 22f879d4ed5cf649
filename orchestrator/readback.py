"""Proves that supervisor's own parser reads from a rendered file what was meant, before anything is switched.

The sections have to be exactly ours, and every value, in the type that supervisord will act on, has to be the intended
one. supervisor silently ignores a key it does not know and takes a default: that shows as another value here.
"""

import configparser
import signal
from contextlib import closing
from pathlib import Path

from maillib.errors import MailError
from orchestrator.render import EVENT_BUFFER, KEEP, STOP_WAIT_S, Program, Rendered, Suite
from orchestrator.supervisor import EXIT_CODES

Values = dict[str, object]


class ReadBackFailed(MailError):
    """supervisor would read something else than was meant, or nothing at all: nothing may be switched."""


def read_back(path: Path, rendered: Rendered) -> None:
    """Compare the file `path` with the intent. Raises ReadBackFailed that names section and key.

    The folders that the file names have to exist: supervisor refuses it otherwise.
    """
    wanted, found = _wanted(rendered), _found(path)
    for section in sorted(wanted.keys() ^ found.keys()):
        raise ReadBackFailed(f"{path}: [{section}] is {'not meant' if section in found else 'missing'}")
    for section, values in wanted.items():
        for key, value in values.items():
            read = found[section].get(key)
            if read != value:
                raise ReadBackFailed(f"{path}: [{section}] {key}: supervisor reads {read!r}, meant is {value!r}")


def _found(path: Path) -> dict[str, Values]:
    """Each section of the file: its text, and over that what supervisor makes of it."""
    from supervisor.options import ServerOptions, UnhosedConfigParser  # slow: only who applies pays for it

    parser, options = UnhosedConfigParser(), ServerOptions()
    options.configfile = str(path)
    with closing(options.poller):
        try:
            parser.read(str(path))
            options.process_config(do_usage=False)
        except (ValueError, OSError, configparser.Error) as error:
            raise ReadBackFailed(f"{path}: supervisor does not take it: {error}") from None
    found: dict[str, Values] = {name: dict(parser[name]) for name in parser.sections()}
    found["supervisord"] |= vars(options)
    for group in options.process_group_configs:
        if len(group.process_configs) != 1:
            raise ReadBackFailed(
                f"{path}: [{group.name}]: supervisor reads {len(group.process_configs)} processes, not 1"
            )
        process = group.process_configs[0]
        values = {**vars(process), "autorestart": process.autorestart.__name__}
        if hasattr(group, "pool_events"):
            events = sorted(event.__name__ for event in group.pool_events)
            found[f"eventlistener:{group.name}"] |= {**values, "buffer_size": group.buffer_size, "events": events}
        else:
            found[f"program:{group.name}"] |= values
    return found


def _wanted(rendered: Rendered) -> dict[str, Values]:
    agent = {
        **_started(rendered.agent),
        "autostart": True,
        "autorestart": "RestartUnconditionally",
        "buffer_size": EVENT_BUFFER,
        "events": ["ProcessGroupEvent", "ProcessStateEvent", "SupervisorStateChangeEvent"],
        "stdout_logfile": None,
        "stderr_logfile": rendered.agent.log,
        "stderr_logfile_maxbytes": KEEP.octets,
        "stderr_logfile_backups": KEEP.backups,
    }
    factory = "supervisor.rpcinterface:make_main_rpcinterface"
    return {
        "unix_http_server": {"file": rendered.suite.socket, "chmod": "0700"},
        "supervisord": _suite(rendered.suite),
        "rpcinterface:supervisor": {"supervisor.rpcinterface_factory": factory},
        "supervisorctl": {"serverurl": f"unix://{rendered.suite.socket}"},
        f"eventlistener:{rendered.agent.name}": agent,
        **{f"program:{program.name}": _service(program) for program in rendered.programs},
    }


def _suite(suite: Suite) -> Values:
    return {
        "logfile": suite.log,
        "logfile_maxbytes": KEEP.octets,
        "logfile_backups": KEEP.backups,
        "pidfile": suite.pidfile,
        "childlogdir": suite.log_dir,
        "directory": suite.state_dir,
        "nodaemon": False,
        "umask": 0o027,
        "identifier": "postroom",
        "user": "root" if suite.as_root else None,
    }


def _service(program: Program) -> Values:
    return {
        **_started(program),
        "autostart": False,
        "autorestart": "RestartWhenExitUnexpected",
        "exitcodes": list(EXIT_CODES),
        "redirect_stderr": True,
        "stdout_logfile": program.log,
        "stdout_logfile_maxbytes": KEEP.octets,
        "stdout_logfile_backups": KEEP.backups,
    }


def _started(program: Program) -> Values:
    return {
        "name": program.name,
        "command": " ".join(program.command),
        "priority": program.priority,
        "uid": None,
        "umask": None,
        "directory": None,
        "environment": {},
        "startsecs": 0,
        "stopsignal": signal.Signals[f"SIG{program.stop_signal}"],
        "stopwaitsecs": STOP_WAIT_S,
        "stopasgroup": False,
        "killasgroup": False,
    }
