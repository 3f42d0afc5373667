"""Evaluate a trained model: python scripts/eval.py ckpt=outputs/cod_r32/seed0 (--help tells what can be set)."""

from ipsam.cli.eval import main

if __name__ == "__main__":
    main()
