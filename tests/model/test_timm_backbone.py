"""A trunk of timm behind the contract of a backbone."""

import logging
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from sam2.modeling.backbones.image_encoder import FpnNeck
from sam2.modeling.position_encoding import PositionEmbeddingSine
from support.builders import micro_parts

from ipsam.model import IPSAM, TimmBackbone
from ipsam.model.backbones.efficientnet_lite import LITE, EfficientNetLite
from ipsam.utils.imagenet import MEAN, STD

NAME = "test_efficientnet"
DIM = 64


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of a whole model's weights."""
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("timm") / f"{NAME}.safetensors"
    save_file(timm.create_model(NAME).state_dict(), path)
    return path


@pytest.mark.parametrize("name", [NAME, "test_resnet", "test_convnext", "swin_tiny_patch4_window7_224"])
def test_pyramid_and_prompt_shapes(name: str) -> None:
    """Also of trunks that must be told the size, or put the channels last."""
    backbone = TimmBackbone(name, image_size=96, dim=DIM)
    image = torch.randn(2, 3, 96, 96)
    levels = backbone(image)
    assert [tuple(level.shape) for level in levels] == [(2, DIM, side, side) for side in (24, 12, 6)]
    assert [tuple(level.shape) for level in backbone(image, num_levels=1)] == [(2, DIM, 6, 6)]
    assert backbone.position().shape == (1, DIM, 6, 6)
    assert backbone.encode_dense(torch.randn(2, 1, 24, 24)).shape == (2, DIM, 6, 6)
    sparse, dense = backbone.null_prompts(2)
    assert (sparse.shape, dense.shape) == ((2, 0, DIM), (2, DIM, 6, 6))
    assert backbone.point_type(1).shape == (1, DIM)


@torch.no_grad()
def test_pyramid_equals_the_necks_on_the_trunks_stages() -> None:
    backbone = TimmBackbone(NAME, image_size=64, dim=DIM).eval()
    channels = [timm.create_model(NAME, features_only=True).feature_info.channels()[stage] for stage in (4, 3, 2, 1)]
    encoding = PositionEmbeddingSine(DIM)
    neck = FpnNeck(encoding, DIM, channels, fpn_interp_model="nearest", fpn_top_down_levels=[2, 3])
    neck.load_state_dict(backbone.neck.state_dict())
    image = torch.randn(2, 3, 64, 64)
    stages = backbone.trunk(image * backbone.scale + backbone.shift)
    expected, _ = neck(stages[1:])
    for num_levels in (1, 3):
        levels = backbone(image, num_levels=num_levels)
        assert len(levels) == num_levels
        assert all(map(torch.equal, levels, expected[3 - num_levels : 3]))


def test_lite_trunk_equals_timms_to_the_bit() -> None:
    """Initial weights, stages and gradients; ``lite`` is loaded without importing timm."""
    torch.manual_seed(3)
    timms = timm.create_model(LITE, features_only=True)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    own = EfficientNetLite()
    assert torch.equal(torch.rand(1), drawn)
    assert list(own.state_dict()) == list(timms.state_dict())
    assert all(map(torch.equal, own.state_dict().values(), timms.state_dict().values()))
    assert {name: timms.pretrained_cfg[name] for name in ("mean", "std")} == own.pretrained_cfg
    for name in ("reduction", "channels"):
        assert getattr(own.feature_info, name)() == getattr(timms.feature_info, name)()
    for training, image in ((True, torch.randn(2, 3, 64, 64)), (False, torch.randn(1, 3, 65, 96))):
        found, expected = (model.train(training)(image) for model in (own, timms))
        assert all(map(torch.equal, found, expected))
        for stages in (found, expected):
            sum(stage.square().sum() for stage in stages).backward()
    assert all(
        torch.equal(one.grad, other.grad) for one, other in zip(own.parameters(), timms.parameters(), strict=True)
    )


def test_image_gets_the_normalisation_of_timms_weights() -> None:
    backbone = TimmBackbone(LITE, image_size=64, dim=DIM)
    config = timm.create_model(LITE).pretrained_cfg
    assert config["mean"] != MEAN  # or else the test shows nothing
    image = torch.rand(1, 3, 64, 64)

    def normalised(mean: Any, std: Any) -> torch.Tensor:
        return (image - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)

    found = normalised(MEAN, STD) * backbone.scale + backbone.shift
    torch.testing.assert_close(found, normalised(config["mean"], config["std"]))


@pytest.mark.parametrize("name", [NAME, "test_resnet", "test_convnext"])
@pytest.mark.parametrize("lateral", [True, False])
def test_every_trainable_parameter_gets_a_gradient(name: str, lateral: bool) -> None:
    parts: Any = micro_parts() if lateral else micro_parts(lateral=None)
    model = IPSAM(TimmBackbone(name, image_size=64, dim=DIM), **parts)
    output = model(torch.randn(2, 3, 64, 64))
    outputs = [output.coarse, output.refined, output.fg_logits, output.bg_logits, *output.auxiliary]
    torch.stack([logits.square().mean() for logits in outputs]).sum().backward()
    for key, parameter in model.named_parameters():
        frozen = key.startswith("backbone.prompt_encoder.")
        frozen |= not lateral and key.startswith(("backbone.neck.convs.2.", "backbone.neck.convs.3."))
        assert parameter.requires_grad != frozen, key
        assert (parameter.grad is not None) == parameter.requires_grad, key


def test_pretrained_file_gives_the_trunk_timms_weights(pretrained: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without a warning of the classifier, which a backbone has none of; no second copy of the weights is kept."""
    with caplog.at_level(logging.WARNING):
        backbone = TimmBackbone(NAME, image_size=64, dim=DIM, pretrained=str(pretrained)).eval()
        logging.getLogger("timm.models._builder").warning("Unexpected keys (x)")
    assert [record.getMessage() for record in caplog.records] == ["Unexpected keys (x)"]
    whole = load_file(pretrained)
    assert all(torch.equal(tensor, whole[key]) for key, tensor in backbone.trunk.state_dict().items())
    assert "state_dict" not in backbone.trunk.pretrained_cfg
    assert backbone.base_sha256 is None  # checkpoints hold every weight
    assert len(backbone.pretrained_sha256 or "") == 64
    assert TimmBackbone(NAME, image_size=64, dim=DIM).pretrained_sha256 is None


def test_state_dict_has_stable_keys(pretrained: Path) -> None:
    backbone = TimmBackbone(NAME, image_size=64, dim=DIM)
    assert {key.partition(".")[0] for key in backbone.state_dict()} == {"trunk", "neck", "prompt_encoder"}
    again = TimmBackbone(NAME, image_size=64, dim=DIM, pretrained=str(pretrained))
    assert again.state_dict().keys() == backbone.state_dict().keys()
    assert {key for key in backbone.state_dict() if key.startswith("neck.")} == {
        f"neck.convs.{level}.conv.{kind}" for level in range(4) for kind in ("weight", "bias")
    }


def test_trunk_of_one_size_refuses_others() -> None:
    backbone = TimmBackbone(NAME, image_size=64, dim=DIM)
    backbone.resize(96)
    assert backbone.position().shape == (1, DIM, 6, 6)
    with pytest.raises(ValueError, match="takes images of 64 pixels alone, not 96"):
        TimmBackbone("swin_tiny_patch4_window7_224", image_size=64, dim=DIM).resize(96)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "efficientnet_lite"}, ValueError, "name: timm .* has no model 'efficientnet_lite'"),
        ({"name": "vit_tiny_patch16_224"}, ValueError, r"stages of stride \[16, 16, 16\], but the neck reads \[4, 8"),
        ({"image_size": 100}, ValueError, "image_size must be a positive multiple of 32 pixels, not 100"),
        ({"pretrained": "none.safetensors"}, FileNotFoundError, r"none\.safetensors: fetch .* timm=\[none\], or set"),
        ({"pretrained": "text.safetensors"}, ValueError, r"text\.safetensors is damaged or not a safetensors file"),
        ({"pretrained": "other.safetensors"}, ValueError, r"(?s)other\.safetensors does not fit .* 1 missing: .*bias"),
    ],
)
def test_errors_name_the_argument(
    pretrained: Path, tmp_path: Path, monkeypatch: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.safetensors").write_text("no weights")
    state = load_file(pretrained)
    save_file({key: state[key] for key in state if key != "classifier.bias"}, "other.safetensors")
    with pytest.raises(error, match=message):
        TimmBackbone(**{"name": NAME, "image_size": 64, "dim": DIM, **arguments})
