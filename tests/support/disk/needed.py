"""Whether strace works here: it may be missing, or not be allowed to trace."""

import shutil
import subprocess

import pytest


def strace_or_skip() -> None:
    """Skip the test that calls this, saying why, where nothing can be traced."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    done = subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"strace may not trace here: {done.stderr.strip()}")
