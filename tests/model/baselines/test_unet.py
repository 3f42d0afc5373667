"""The plain U-Net decoder on a trunk of timm's."""

import pytest
import torch

from ipsam.engine.inference.forward import resized
from ipsam.model import TimmBackbone
from ipsam.model.baselines import UNet
from ipsam.model.inference import prepare_for_inference

pytest.importorskip("segmentation_models_pytorch")


def test_every_parameter_learns_and_masks_have_the_input_size() -> None:
    model = UNet(TimmBackbone("tf_efficientnet_lite0", image_size=64, dim=32), channels=(16, 8, 8, 4))
    output = model(torch.randn(2, 3, 64, 64))
    assert output.logits.shape == (2, 1, 64, 64)
    output.logits.square().mean().backward()
    parameters = dict(model.named_parameters())
    assert not [name for name in parameters if "neck" in name or "prompt_encoder" in name]
    assert [name for name, parameter in parameters.items() if parameter.grad is None] == []


@torch.no_grad()
def test_prepared_model_predicts_as_before_at_each_size() -> None:
    model = UNet(TimmBackbone("test_efficientnet", image_size=64, dim=32), channels=(16, 8, 8, 4)).eval()
    images = [torch.randn(1, 3, side, side) for side in (64, 96)]
    expected = [model(image).logits for image in images]
    prepare_for_inference(model, bf16=False)
    for image, logits in zip(images, expected, strict=True):
        with resized(model, image.shape[-1]):
            torch.testing.assert_close(model(image).logits, logits, rtol=1e-4, atol=1e-4)
