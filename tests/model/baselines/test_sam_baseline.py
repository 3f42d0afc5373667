"""SAM as a baseline equals transformers' SamModel."""

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision.transforms.v2.functional import resize
from transformers import SamConfig, SamModel

from ipsam.model.baselines import SAM, NullPrompt, OraclePoint, WholeImageBox
from ipsam.model.baselines.sam import DECODER, VISION
from ipsam.utils.imagenet import normalise

SIZE = 64


def sam_model(size: int) -> SamModel:
    width = {"hidden_size": DECODER["micro"]["hidden_size"]}
    config = SamConfig(
        vision_config={**VISION["micro"], "image_size": size},
        prompt_encoder_config={**width, "image_size": size},
        mask_decoder_config=DECODER["micro"],
    )
    return SamModel(config).eval()


@pytest.fixture
def original() -> SamModel:
    """transformers' own model with random weights."""
    model = sam_model(SIZE)
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


@torch.no_grad()
@pytest.mark.parametrize("size", [48, 112])
def test_positions_are_interpolated_to_another_size(
    original: SamModel, folder: Path, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    """transformers itself interpolates the relative positions in each forward pass, but not the absolute ones."""
    expected = sam_model(size)
    for name, tensor in original.state_dict().items():
        module, _, leaf = name.rpartition(".")
        if leaf == "pos_embed":
            grid = resize(tensor.permute(0, 3, 1, 2), [size // 16, size // 16], antialias=False)
            tensor = grid.permute(0, 2, 3, 1)
        setattr(expected.get_submodule(module), leaf, torch.nn.Parameter(tensor))
    image = torch.randn(2, 3, size, size)
    with caplog.at_level(logging.INFO):
        sam = SAM("micro", image_size=size, checkpoint=folder).eval()
    assert caplog.messages == [f"{folder}/model.safetensors: position embeddings interpolated from 64 to {size} px"]
    zeros = torch.zeros(2, 1, size // 4, size // 4)
    masks = expected(image, input_masks=zeros, multimask_output=False).pred_masks[:, 0]
    torch.testing.assert_close(NullPrompt(sam)(image).logits, masks, atol=1e-4, rtol=0)


def test_same_size_is_loaded_to_the_bit(original: SamModel, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        state = SAM("micro", image_size=SIZE, checkpoint=folder).model.state_dict()
    assert caplog.messages == []
    assert all(torch.equal(tensor, state[name]) for name, tensor in original.state_dict().items())


@torch.no_grad()
def test_min_max_scales_each_image_by_itself(folder: Path, sam: SAM) -> None:
    pixels = torch.randint(40, 200, (2, 3, SIZE, SIZE), dtype=torch.uint8)
    pixels[1] //= 3
    low, high = pixels.amin((1, 2, 3), keepdim=True), pixels.amax((1, 2, 3), keepdim=True)
    scaled = (pixels - low) / (high - low)
    found = SAM("micro", image_size=SIZE, checkpoint=folder, min_max=True).eval().encode(normalise(pixels)).embedding
    torch.testing.assert_close(found, sam.encode(scaled).embedding, atol=1e-4, rtol=0)
    assert not torch.allclose(found, sam.encode(normalise(pixels)).embedding, atol=1e-2)


class TestFiles:
    @pytest.mark.parametrize(
        ("variant", "name", "published"),
        [("huge", "mine", "facebook/sam-vit-huge"), ("base", "medsam-vit-base", "wanglab/medsam-vit-base")],
    )
    def test_missing(self, tmp_path: Path, variant: str, name: str, published: str) -> None:
        with pytest.raises(FileNotFoundError, match=rf"no SAM weights at .*\n.*hf download {published} "):
            SAM(variant, checkpoint=tmp_path / name)  # before it is built

    def test_damaged(self, folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:1000])
        with pytest.raises(ValueError, match=r"model\.safetensors is damaged or not a safetensors file"):
            SAM("micro", image_size=SIZE, checkpoint=folder)

    @pytest.mark.parametrize(
        ("name", "shape"),
        [
            ("vision_encoder.neck.conv1.weight", (32, 47, 1, 1)),
            ("vision_encoder.pos_embed", (1, 4, 5, 48)),
            ("vision_encoder.pos_embed", (4, 48)),
            ("vision_encoder.layers.1.attn.rel_pos_h", (9, 12)),  # of global attention
            ("vision_encoder.layers.0.attn.rel_pos_w", (7, 12)),  # of windows, whose size is fixed
        ],
    )
    @pytest.mark.parametrize("size", [SIZE, 128])
    def test_of_another_shape(self, folder: Path, name: str, shape: tuple[int, ...], size: int) -> None:
        path = folder / "model.safetensors"
        save_file(load_file(path) | {name: torch.zeros(shape)}, path)
        with pytest.raises(ValueError, match=rf"does not fit SAM with .*image_size={size}\n") as error:
            SAM("micro", image_size=size, checkpoint=folder)
        assert name in str(error.value)
