"""Process that holds the lock of a run's folder until it is killed: python lock_worker.py FOLDER."""

import sys
import time
from pathlib import Path

if __name__ == "__main__":
    from ipsam.utils.lock import hold

    folder = Path(sys.argv[1])
    folder.mkdir()
    with hold(folder / ".lock", wait=False):
        sys.stdout.write("held\n")
        sys.stdout.flush()
        time.sleep(600)
