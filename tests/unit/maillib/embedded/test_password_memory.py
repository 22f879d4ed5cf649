"""A password that cannot be checked for want of memory is not a wrong one."""

import asyncio
import subprocess
import sys

from maillib.embedded.passwords import Passwords

SCRIPT = """
import asyncio, resource, sys, threading
from maillib.embedded.passwords import Passwords, StoredPassword
from maillib.errors import Transient

async def main():
    threading.stack_size(1 << 20)  # as in a worker
    passwords = Passwords()
    stored = StoredPassword(sys.argv[1], None)
    used = int(next(line for line in open("/proc/self/status") if line.startswith("VmData:")).split()[1]) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (used + (4 << 20), resource.RLIM_INFINITY))
    try:
        print(await passwords.matches(stored, "right"))
    except Transient:
        print("transient")

asyncio.run(main())
"""


def test_no_memory_for_a_hash_is_a_temporary_error() -> None:
    """With 4 MiB left a hash of 19 MiB cannot be computed: the client is told to try again, not that it is wrong."""
    stored = asyncio.run(Passwords().hash("right"))
    command = [sys.executable, "-c", SCRIPT, stored.argon2id]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "transient\n"
