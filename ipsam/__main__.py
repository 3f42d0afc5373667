"""The command ``ipsam``: ``ipsam NAME ...`` does what ``python scripts/NAME.py ...`` does."""

import sys
from importlib import import_module

COMMANDS = (
    *("train", "eval", "predict", "demo", "export", "download", "check_data"),
    *("score", "tables", "params", "visualize", "benchmark"),
)


def main() -> None:
    """Run the command that the first argument names."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in COMMANDS:
        sys.exit(f"usage: ipsam COMMAND [...], with COMMAND one of {', '.join(COMMANDS)}; ipsam COMMAND --help")
    sys.argv = [f"ipsam {name}", *sys.argv[2:]]
    import_module(f"ipsam.cli.{name}").main()


if __name__ == "__main__":
    main()
