"""A model for other programs: python scripts/export.py ckpt=RUN output=model.onnx (--help tells what can be set)."""

from ipsam.cli.export import main

if __name__ == "__main__":
    main()
