"""Keep an encoder from making the whole process a real-time one.

SVT-AV1, when it runs as root on Linux, gives the thread that opens it and its own threads the
policy SCHED_FIFO at priority 99. Such a process starves everything else on the machine, and
whatever waits in it for a thread of normal priority may wait for ever.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_TASKS = Path("/proc/self/task")


def restore_scheduling() -> int:
    """Give every real-time thread of this process the normal policy; return how many there were.

    Does nothing where the system has no such policies.
    """
    if not hasattr(os, "sched_setscheduler") or not _TASKS.is_dir():
        return 0
    n_restored = 0
    for task in _TASKS.iterdir():
        # A thread may end between the listing and the call.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.sched_getscheduler(int(task.name)) in (os.SCHED_FIFO, os.SCHED_RR):
                os.sched_setscheduler(int(task.name), os.SCHED_OTHER, os.sched_param(0))
                n_restored += 1
    return n_restored
