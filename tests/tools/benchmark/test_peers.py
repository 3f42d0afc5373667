"""The peer in inference is SAM2, with the model's own encoder weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.builders import micro_backbone, randomise
from torch import Tensor

from ipsam.model import LoRA, SAM2Backbone
from ipsam.model.baselines import SAM2, NullPrompt
from ipsam.model.baselines.promptable import Prompts
from ipsam.tools.benchmark.peers import predict_one_by_one, sam2_path, sam2_predictor
from ipsam.utils.imagenet import normalise

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")  # sam2's predictor
CPU = torch.device("cpu")
SIZE = 64


@pytest.fixture
def backbone() -> SAM2Backbone:
    backbone = micro_backbone(image_size=SIZE, lora=LoRA(rank=2))
    randomise(backbone)
    return backbone


@pytest.fixture
def path(backbone: SAM2Backbone) -> NullPrompt:
    """Peer whose own weights, such as the mask decoder's, are far enough from zero to show in the output."""
    path = sam2_path(backbone, variant="micro")
    for module in (path.backbone.model.sam_mask_decoder, path.backbone.model.no_mem_embed):
        with torch.no_grad():
            for parameter in [module] if isinstance(module, Tensor) else module.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return path


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def network_input(picture: np.ndarray) -> Tensor:
    return normalise(torch.from_numpy(picture).permute(2, 0, 1))[None]


@torch.no_grad()
def test_path_equals_sam2s_predictor(path: NullPrompt, picture: np.ndarray) -> None:
    predictor = sam2_predictor(path)
    predictor.set_image(picture)
    _, _, logits = predictor.predict(multimask_output=False)
    assert np.abs(logits).max() > 0.1
    np.testing.assert_allclose(path(network_input(picture)).logits[0].clamp(-32, 32).numpy(), logits, atol=1e-4)


@torch.no_grad()
def test_path_has_the_models_encoder_weights(path: NullPrompt, backbone: SAM2Backbone, picture: np.ndarray) -> None:
    """LoRA is merged in the copy and unchanged in the model."""
    image, sam2 = network_input(picture), path.backbone
    assert isinstance(sam2, SAM2)
    expected = backbone(image)[-1]
    encoded = sam2.encode(image).embedding - sam2.model.no_mem_embed.view(1, -1, 1, 1)
    torch.testing.assert_close(encoded, expected, atol=1e-4, rtol=1e-4)
    assert not any("lora" in name for name in sam2.state_dict())
    assert any("lora" in name for name in backbone.state_dict())
    ours, theirs = backbone.prompt_encoder.state_dict(), sam2.model.sam_prompt_encoder.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@torch.no_grad()
def test_maps_are_prompted_by_a_point_in_the_centre(path: NullPrompt, picture: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(picture).save(tmp_path / "a.png")
    (tmp_path / "maps").mkdir()
    predict_one_by_one(sam2_predictor(path), [tmp_path / "a.png"], tmp_path / "maps", device=CPU, bf16=False)
    points = torch.full((1, 1, 2), SIZE / 2)
    logits, _ = path.backbone.segment(network_input(picture), Prompts(points=points))
    resized = torch.nn.functional.interpolate(logits, (SIZE, SIZE), mode="bilinear", align_corners=False)
    expected = (255 * resized.sigmoid()).round()[0, 0].numpy()
    saved = np.asarray(Image.open(tmp_path / "maps" / "a.png"))
    assert np.ptp(saved) > 10
    assert np.abs(saved - expected).max() <= 1
