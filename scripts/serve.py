"""The command ``ipsam serve``: serve a model over HTTP."""

from ipsam.__main__ import run

if __name__ == "__main__":
    run("serve")
