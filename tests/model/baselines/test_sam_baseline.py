"""SAM as a baseline equals transformers' SamModel."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import SamConfig, SamModel

from ipsam.model.baselines import SAM, NullPrompt, OraclePoint, WholeImageBox
from ipsam.model.baselines.sam import DECODER, VISION

SIZE = 64


@pytest.fixture
def original() -> SamModel:
    """transformers' own model with random weights."""
    width = {"hidden_size": DECODER["micro"]["hidden_size"]}
    config = SamConfig(
        vision_config={**VISION["micro"], "image_size": SIZE},
        prompt_encoder_config={**width, "image_size": SIZE},
        mask_decoder_config=DECODER["micro"],
    )
    model = SamModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


@pytest.fixture
def folder(original: SamModel, tmp_path: Path) -> Path:
    """As on the Hub: written by transformers itself."""
    original.save_pretrained(tmp_path / "sam-vit-micro", safe_serialization=True)
    return tmp_path / "sam-vit-micro"


@pytest.fixture
def sam(folder: Path) -> SAM:
    return SAM("micro", image_size=SIZE, checkpoint=folder).eval()


@pytest.fixture
def image() -> Tensor:
    return torch.randn(2, 3, SIZE, SIZE)


@torch.no_grad()
def test_null_prompt_is_sam_models(sam: SAM, original: SamModel, image: Tensor) -> None:
    zeros = torch.zeros(2, 1, SIZE // 4, SIZE // 4)
    expected = original(image, input_masks=zeros, multimask_output=False).pred_masks
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(NullPrompt(sam)(image).logits, expected[:, 0], atol=1e-4, rtol=0)
    without = original(image, multimask_output=False).pred_masks
    torch.testing.assert_close(NullPrompt(sam, zero_mask=False)(image).logits, without[:, 0], atol=1e-4, rtol=0)
    assert not torch.allclose(without, expected, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("multimask", [False, True])
def test_oracle_is_sam_models(sam: SAM, original: SamModel, image: Tensor, multimask: bool) -> None:
    masks = [torch.zeros(SIZE, SIZE, dtype=torch.bool) for _ in range(2)]
    masks[0][10:21, 30:51] = True
    masks[1][4:9, 8:13] = True
    points = torch.tensor([[[[40.0, 15.0]]], [[[10.0, 6.0]]]])
    output = original(image, input_points=points, multimask_output=multimask)
    best = output.iou_scores[:, 0].argmax(1)
    expected = output.pred_masks[torch.arange(2), 0, best]
    ours = OraclePoint(sam, multimask=multimask)(image, masks).logits
    torch.testing.assert_close(ours[:, 0], expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_whole_image_box_is_sam_models(sam: SAM, original: SamModel, image: Tensor) -> None:
    boxes = torch.tensor([[[0.0, 0.0, SIZE, SIZE]]]).repeat(2, 1, 1)
    expected = original(image, input_boxes=boxes, multimask_output=False).pred_masks[:, 0]
    torch.testing.assert_close(WholeImageBox(sam)(image).logits, expected, atol=1e-4, rtol=0)


def test_shared_tensor_is_read_by_either_name(original: SamModel, sam: SAM, tmp_path: Path) -> None:
    shared = ("shared_image_embedding.positional_embedding", "prompt_encoder.shared_embedding.positional_embedding")
    for name in shared:
        state = {key: tensor.clone() for key, tensor in original.state_dict().items() if key != name}
        (tmp_path / name).mkdir()
        save_file(state, tmp_path / name / "model.safetensors")
        loaded = SAM("micro", image_size=SIZE, checkpoint=tmp_path / name)
        assert all(torch.equal(tensor, loaded.state_dict()[key]) for key, tensor in sam.state_dict().items())


class TestFiles:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"no SAM weights at .*\n.*hf download facebook/sam-vit-huge"):
            SAM("huge", checkpoint=tmp_path)  # before it is built

    def test_damaged(self, folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(ValueError, match=r"model\.safetensors is damaged or not a safetensors file"):
            SAM("micro", image_size=SIZE, checkpoint=folder)

    def test_of_another_size(self, folder: Path) -> None:
        with pytest.raises(ValueError, match=r"does not fit SAM with .*image_size=128.*\n.*of another shape"):
            SAM("micro", image_size=128, checkpoint=folder)
