"""Small ONNX files, made without exporting a model."""

import json
from pathlib import Path

import numpy as np


def brightness_model(
    path: Path, *, side: int = 64, letterbox: bool = False, described: bool = True, outside: str | None = None
) -> Path:
    """Write a model whose logits are three times an image's mean over the channels, at a quarter of its side.

    Args:
        path: of the file.
        side: of its input.
        letterbox: how it was trained, as stored in the metadata.
        described: store the metadata that ``ipsam export`` stores.
        outside: another file, named as that of the weights.
    """
    import onnx
    from onnx import TensorProto, helper

    weights = onnx.numpy_helper.from_array(np.full((1, 3, 4, 4), 3 / 48, np.float32), "weights")
    if outside is not None:
        onnx.external_data_helper.set_external_data(weights, location=outside)
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
    nodes = [helper.make_node("Conv", ["image", "weights"], ["logits"], strides=[4, 4])]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, side, side])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1, side // 4, side // 4])
    graph = helper.make_graph(nodes, "brightness", [image], [logits], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if described:
        helper.set_model_props(model, {"image_size": json.dumps(side), "letterbox": json.dumps(letterbox)})
    path.write_bytes(model.SerializeToString())
    return path
