"""A file that does not answer, as on a network share that is gone, without a network.

A process holds a lease (fcntl(2), `F_SETLEASE`) of it: whoever opens the file waits until the lease
is given back, or for /proc/sys/fs/lease-break-time, 45 s.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOLD = """
import fcntl, os, signal, sys
signal.signal(signal.SIGIO, signal.SIG_IGN)  # it asks for the lease
file = os.open(sys.argv[1], os.O_RDWR)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def silent(path: Path) -> Iterator[None]:
    """Let a file not answer within the block, for 45 s at most."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            holder.kill()


def wait_until_asked() -> None:
    """Return as soon as somebody waits for such a file (proc_locks(5)), within a minute."""
    deadline = time.monotonic() + 60
    while "LEASE  BREAKING" not in Path("/proc/locks").read_text():
        assert time.monotonic() < deadline, "nobody has opened the file"
        time.sleep(0.1)
