"""What every worker process begins with, and how it ends at the latest."""

import atexit
import multiprocessing
import multiprocessing.util  # whose own end is thereby registered before ours, and comes after it
import os
import signal
import threading

import cv2


def begin_worker() -> None:
    """Set up a worker: one thread, the keyboard's interrupt left to the main process, and none without that one."""
    cv2.setNumThreads(0)  # not 1: a forked process would wait for ever for the end of threads that it does not have
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@atexit.register
def _kill_workers() -> None:
    """An error that nobody catches keeps them alive, and Python would wait for ever for those that ignore signals."""
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()
