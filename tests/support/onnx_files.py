"""Small ONNX files, made without exporting a model."""

import json
from pathlib import Path

import numpy as np


def brightness_model(path: Path, *, side: int = 64, described: bool = True, outside: bool = False) -> Path:
    """Write a model whose logits are three times an image's mean over the channels, at a quarter of its side.

    Args:
        path: of the file.
        side: of its input.
        described: store the metadata that ``ipsam export`` stores.
        outside: name another file as that of the factor.
    """
    import onnx
    from onnx import TensorProto, helper

    factor = onnx.numpy_helper.from_array(np.float32(3), "factor")
    if outside:
        onnx.external_data_helper.set_external_data(factor, location="../secret")
        factor.ClearField("raw_data")
        factor.data_location = TensorProto.EXTERNAL
    nodes = [
        helper.make_node("AveragePool", ["image"], ["small"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("ReduceMean", ["small"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["mean", "factor"], ["logits"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, side, side])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1, side // 4, side // 4])
    graph = helper.make_graph(nodes, "brightness", [image], [logits], [factor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if described:
        helper.set_model_props(model, {"image_size": json.dumps(side), "letterbox": "false"})
    path.write_bytes(model.SerializeToString())
    return path
