"""Process that holds the lock of a run's folder until it is killed: python lock_worker.py FOLDER."""

import sys
import time
from pathlib import Path

if __name__ == "__main__":
    from ipsam.engine.runs.run_folder import lock_folder

    with lock_folder(Path(sys.argv[1])):
        sys.stdout.write("held\n")
        sys.stdout.flush()
        time.sleep(600)
