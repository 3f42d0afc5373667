"""A web page that shows what a model makes of your pictures: python scripts/demo.py (--help tells what can be set)."""

from ipsam.cli.demo import main

if __name__ == "__main__":
    main()
