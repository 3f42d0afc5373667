"""Train a model, then evaluate it: python scripts/train.py experiment=cod_r32 (--help tells what can be set)."""

from ipsam.cli.train import main

if __name__ == "__main__":
    main()
