"""The one entry of every script in `workers/`: master, worker or dry start, by how it was called.

`SCRIPT --config FILE` is the master; it runs alone in a shell as well as under supervisord (Ctrl-C drains, a second
Ctrl-C says goodbye at once). The master starts the same script as a worker, with the channel's descriptor in the
environment; only there are the protocol's modules imported. `--dry-start` reads the configuration and ends: a master
asks that of new program code before it executes itself anew.

Exit status: 0 ended as asked; 1 failed; 78 (EX_CONFIG of sysexits.h) the configuration cannot work, so that supervisord
does not try again.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from maillib.errors import ConfigError, MailError
from maillib.settings import service

if TYPE_CHECKING:  # it imports asyncio, which a master does without
    from collections.abc import Callable

    from maillib.runtime.service import Build

EXIT_FAILED = 1
EXIT_CONFIG = 78

FAILED_PAUSE_S = 2.0
"""Between a failed start and the next one."""

CHANNEL = "POSTROOM_CHANNEL"
"""Environment variable of a worker: the number of its channel's descriptor."""

RESUME = "POSTROOM_RESUME"
"""Environment variable of a master that has executed itself anew: the descriptor of what it left to itself."""


def main(script: str, protocol: str, load: "Callable[[], Build]") -> int:
    """Run as what the arguments and the environment say. Returns the exit status.

    `load` imports what the protocol needs and returns how to build it. Only a worker calls it, and before it drops to
    its user: the program's files need not be readable by that user.
    """
    parser = argparse.ArgumentParser(prog=Path(script).name, description=f"Postroom's {protocol} service")
    parser.add_argument("--config", required=True, type=Path, metavar="FILE", help="JSON of the service")
    parser.add_argument("--dry-start", action="store_true", help="read the configuration and end")
    arguments = parser.parse_args()
    if not sys.flags.dev_mode:
        sys.tracebacklimit = 20
    os.umask(0o027)
    channel = os.environ.pop(CHANNEL, None)
    try:
        if channel is not None:
            from maillib.runtime import worker

            return worker.run(int(channel), load)
        file = service.read(arguments.config)
        if file.service.protocol != protocol:
            raise ConfigError(f"{arguments.config} is for protocol {file.service.protocol}, this program is {protocol}")
        if arguments.dry_start:
            return 0
        from maillib.runtime import master

        return master.run(Path(script).resolve(), arguments.config, file, os.environ.pop(RESUME, None))
    except ConfigError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return EXIT_CONFIG
    except (MailError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        if "SUPERVISOR_ENABLED" in os.environ:  # it would start us again at once, for ever
            time.sleep(FAILED_PAUSE_S)
        return EXIT_FAILED
