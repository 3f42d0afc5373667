"""Score any method's saved maps: python scripts/score.py maps=DIR masks=DIR out=DIR (--help tells what can be set)."""

from ipsam.cli.score import main

if __name__ == "__main__":
    main()
