"""The command ``ipsam export``: export a model to ONNX, OpenVINO or torch.export."""

from ipsam.__main__ import run

if __name__ == "__main__":
    run("export")
