"""Loading of SAM2's checkpoints: loaded weights, refused files, and messages."""

import logging
import pickle
from pathlib import Path

import pytest
import sam2
import torch
from omegaconf import OmegaConf
from sam2.build_sam import instantiate
from support.builders import micro_backbone, micro_model
from torch import Tensor

from ipsam.model import IPSAM, MaskDecoder, SAM2Backbone, SelfPromptGenerator
from ipsam.model.sam2_checkpoints import OFFICIAL_FILES, URL, load_sam2_checkpoint
from ipsam.utils.weights import sha256_of

WEIGHT = "image_encoder.trunk.blocks.0.attn.qkv.weight"
DAMAGED = r"mine\.pt is damaged or not a PyTorch checkpoint of plain tensors: \S"


def contents(path: Path) -> dict[str, Tensor]:
    return torch.load(path, weights_only=True)["model"]


def test_every_weight_of_both_encoders_is_loaded(micro_checkpoint: Path) -> None:
    stored = contents(micro_checkpoint)
    torch.manual_seed(1)
    backbone = micro_backbone(checkpoint=str(micro_checkpoint))
    parts = {"image_encoder": backbone.image_encoder, "sam_prompt_encoder": backbone.prompt_encoder}
    for prefix, module in parts.items():
        state = module.state_dict()
        assert {f"{prefix}.{key}" for key in state} == {key for key in stored if key.startswith(f"{prefix}.")}
        assert all(torch.equal(tensor, stored[f"{prefix}.{key}"]) for key, tensor in state.items())
    assert load_sam2_checkpoint(micro_checkpoint, parts) == sha256_of(micro_checkpoint) == backbone.base_sha256


@pytest.fixture(scope="module", params=["2.1", "2.0"])
def sam2_tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """All of SAM2 tiny, video memory included, as sam2 builds and saves it."""
    file = {"2.1": "sam2.1/sam2.1_hiera_t.yaml", "2.0": "sam2/sam2_hiera_t.yaml"}[request.param]
    config = OmegaConf.load(Path(sam2.__path__[0]) / "configs" / file)
    path = tmp_path_factory.mktemp("sam2") / "random_tiny.pt"
    torch.save({"model": instantiate(config.model).state_dict()}, path)
    yield path
    path.unlink()


def test_whole_sam2_model_is_read(sam2_tiny: Path) -> None:
    """Its other parts are ignored by name, so the list of them must be complete."""
    backbone = SAM2Backbone("tiny", checkpoint=sam2_tiny)
    stored = contents(sam2_tiny)
    matrix = stored["sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"]
    cell = torch.full((2,), 2 * (0.5 / 64) - 1)  # the first of the 64 x 64 grid
    assert torch.equal(backbone.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix, matrix)
    torch.testing.assert_close(backbone.position()[0, 0, 0, 0], torch.sin(2 * torch.pi * (cell @ matrix)[0]))
    assert torch.equal(backbone.point_type(1), stored["sam_prompt_encoder.point_embeddings.1.weight"])
    key = "trunk.blocks.11.mlp.layers.1.weight"
    assert torch.equal(backbone.image_encoder.state_dict()[key], stored[f"image_encoder.{key}"])


@pytest.mark.parametrize("own", [False, True])
def test_decoder_is_initialised_from_sam2s(sam2_tiny: Path, caplog: pytest.LogCaptureFixture, own: bool) -> None:
    decoder = MaskDecoder(own_mask_tokens=own, high_res_features=own)
    backbone = SAM2Backbone("tiny", image_size=64, checkpoint=sam2_tiny)
    with caplog.at_level(logging.INFO):
        IPSAM(backbone, decoder=decoder, self_prompt=SelfPromptGenerator(), decoder_weights="sam2")
    stored = contents(sam2_tiny)
    state = decoder.state_dict()
    assert all(torch.equal(tensor, stored[f"sam_mask_decoder.{key}"]) for key, tensor in state.items())
    assert ("mask_tokens.weight" in state) == ("conv_s0.weight" in state) == own
    without = ["iou_prediction_head", "obj_score_token", "pred_obj_score_head"]
    without = without if own else sorted([*without, "conv_s0", "conv_s1", "mask_tokens"])
    assert caplog.messages == [f"decoder initialised from {sam2_tiny}, without {', '.join(without)}"]


def test_decoder_that_does_not_fit_is_named(micro_checkpoint: Path) -> None:
    """The file has only an IoU token: everything else is missing."""
    message = r"the mask decoder in .*random_micro\.pt .*\n.* \d+ missing: sam_mask_decoder\."
    with pytest.raises(ValueError, match=message):
        micro_model(checkpoint=micro_checkpoint, decoder_weights="sam2")


def test_missing_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "sam2.1_hiera_large.pt"
    download = rf"no SAM2 checkpoint at {path}\n.*curl -L --create-dirs -o {path} {URL}/sam2.1_hiera_large.pt\n"
    with pytest.raises(FileNotFoundError, match=download):
        micro_backbone(checkpoint=path)
    for other in (tmp_path / "mine.pt", tmp_path):  # a folder is no file
        with pytest.raises(FileNotFoundError, match=r"no SAM2 checkpoint at .*\n.*checkpoint=None") as error:
            micro_backbone(checkpoint=other)
        assert URL not in str(error.value)


@pytest.mark.parametrize("name", OFFICIAL_FILES)
def test_official_name_needs_the_official_sha256(micro_checkpoint: Path, name: str) -> None:
    path = micro_checkpoint.rename(micro_checkpoint.with_name(name))
    with pytest.raises(ValueError, match=f"is not the official {name}: sha256 {sha256_of(path)}") as error:
        micro_backbone(checkpoint=path)
    assert OFFICIAL_FILES[name].sha256 in str(error.value)
    assert OFFICIAL_FILES[name].url in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<!DOCTYPE html><html><body>404</body></html>",
        b"error: not found\n",  # as pickle code, these letters pop from an empty stack
        b"Gone",  # as pickle code, an incomplete 8-byte float
        b"PK\x03\x04 half a zip file",
    ],
)
def test_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=DAMAGED):
        micro_backbone(checkpoint=path)


@pytest.mark.parametrize("form", ["zip", "bare pickle"])
def test_code_in_the_file_does_not_run(micro_checkpoint: Path, form: str) -> None:
    path, canary = micro_checkpoint.with_name("mine.pt"), micro_checkpoint.with_name("canary")

    class Payload:
        def __reduce__(self) -> tuple:
            return Path.touch, (canary,)

    content = {"model": contents(micro_checkpoint)}
    content["model"]["payload"] = Payload()
    if form == "bare pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=DAMAGED):
        micro_backbone(checkpoint=path)
    assert not canary.exists()
    if form == "bare pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert canary.exists()  # the payload would have worked


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        torch.zeros(3),
        {"state_dict": {"a": torch.zeros(3)}},
        {"model": [torch.zeros(3)]},
        {"model": {"a": 1}},
        {"model": {1: torch.zeros(3)}},
    ],
    ids=str,
)
def test_other_format_is_named(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "mine.pt")
    with pytest.raises(ValueError, match=r"not in SAM2's checkpoint format: it must hold \{\"model\": state_dict\}"):
        micro_backbone(checkpoint=tmp_path / "mine.pt")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {WEIGHT: None, "sam_prompt_encoder.no_mask_embed.weight": None},
            rf"2 missing: {WEIGHT}, sam_prompt_encoder\.no_mask_embed\.weight$",
        ),
        ({"image_encoder.trunk.blocks.8.norm1.weight": torch.zeros(2)}, r"1 unexpected: .*blocks\.8\.norm1\.weight$"),
        ({"sam_prompt_encoder.x": torch.zeros(2)}, r"1 unexpected: sam_prompt_encoder\.x$"),
        ({WEIGHT: torch.zeros(75, 16)}, rf"1 of another shape: {WEIGHT} \(75, 16\) instead of \(48, 16\)$"),
        ({WEIGHT: None, "unheard_of": torch.zeros(2)}, f"(?s)1 missing: {WEIGHT}.*1 unexpected: unheard_of"),
    ],
    ids=["missing", "unexpected block", "unexpected", "shape", "both"],
)
def test_keys_that_do_not_fit_are_listed(
    micro_checkpoint: Path, changes: dict[str, Tensor | None], message: str
) -> None:
    state = {key: value for key, value in (contents(micro_checkpoint) | changes).items() if value is not None}
    torch.save({"model": state}, micro_checkpoint)
    with pytest.raises(ValueError, match=message):
        micro_backbone(checkpoint=micro_checkpoint)
