"""The command ``ipsam visualize``: draw the paper's Fig. 3 and Fig. 4 of a run."""

from ipsam.__main__ import run

if __name__ == "__main__":
    run("visualize")
