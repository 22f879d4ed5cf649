"""`postroom` with the worker scripts of another folder: `python with_workers.py FOLDER ARGUMENT...`."""

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from orchestrator import resources
from orchestrator.cli import main

if __name__ == "__main__":
    programs = dataclasses.replace(resources.programs(), workers=Path(sys.argv.pop(1)))
    resources.programs = lambda: programs
    sys.exit(main())
