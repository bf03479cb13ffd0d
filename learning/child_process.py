"""
The beginning of a child process, which never outlives the process that started it.

It does not know what work the child is given.
"""

import multiprocessing
import os
import signal
import threading


def begin() -> None:
    """
    Leave Ctrl-C to the parent, and end this process when the parent ends, however that ends.

    A pool's worker waits for work on a queue whose other end it holds itself, so it would wait
    for ever after its parent was killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # `begin` is called in a child
    parent.join()
    os._exit(1)
