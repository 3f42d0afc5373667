"""The command ``ipsam predict``: predict masks for your own images and videos."""

from ipsam.__main__ import run

if __name__ == "__main__":
    run("predict")
