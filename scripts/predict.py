"""Masks for your own images: python scripts/predict.py input=FOLDER output=FOLDER (--help tells what can be set)."""

from ipsam.cli.predict import main

if __name__ == "__main__":
    main()
