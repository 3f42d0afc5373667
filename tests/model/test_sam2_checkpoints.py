"""Reading SAM 2.1's checkpoints: what is loaded, what is refused, and what the messages say."""

import hashlib
import pickle
from pathlib import Path

import pytest
import sam2
import torch
from omegaconf import OmegaConf
from sam2.build_sam import instantiate
from support.builders import micro_backbone
from torch import Tensor

from ipsam.model import LoRA, SAM2Backbone
from ipsam.model.sam2_checkpoints import OFFICIAL_FILES, URL, load_sam2_checkpoint
from ipsam.utils.weights import key_difference, sha256_of


def contents(path: Path) -> dict[str, Tensor]:
    return torch.load(path, weights_only=True)["model"]


def rewrite(path: Path, **changes: Tensor | None) -> None:
    """Change, add or (None) drop entries of a checkpoint."""
    state = {key: value for key, value in (contents(path) | changes).items() if value is not None}
    torch.save({"model": state}, path)


def test_every_weight_of_both_encoders_is_loaded(micro_checkpoint: Path) -> None:
    stored = contents(micro_checkpoint)
    torch.manual_seed(1)
    backbone = micro_backbone(checkpoint=micro_checkpoint)
    for prefix, module in (("image_encoder", backbone.image_encoder), ("sam_prompt_encoder", backbone.prompt_encoder)):
        state = module.state_dict()
        assert {f"{prefix}.{key}" for key in state} == {key for key in stored if key.startswith(f"{prefix}.")}
        assert all(torch.equal(tensor, stored[f"{prefix}.{key}"]) for key, tensor in state.items())


def test_weights_are_loaded_before_lora_renames_the_layers(micro_checkpoint: Path) -> None:
    backbone = micro_backbone(checkpoint=micro_checkpoint, lora=LoRA(rank=2))
    name = "trunk.blocks.3.attn.qkv"
    layer = backbone.image_encoder.get_submodule(name)
    assert torch.equal(layer.base_layer.weight, contents(micro_checkpoint)[f"image_encoder.{name}.weight"])


def test_sha256_is_returned_and_kept(micro_checkpoint: Path) -> None:
    expected = hashlib.sha256(micro_checkpoint.read_bytes()).hexdigest()
    backbone = micro_backbone(checkpoint=str(micro_checkpoint))
    parts = {"image_encoder": backbone.image_encoder, "sam_prompt_encoder": backbone.prompt_encoder}
    assert load_sam2_checkpoint(micro_checkpoint, parts) == sha256_of(micro_checkpoint) == expected
    assert backbone.base_sha256 == expected


@pytest.fixture(scope="module")
def sam2_tiny(tmp_path_factory: pytest.TempPathFactory):
    """All of SAM 2.1 tiny, video memory included, as sam2 builds and saves it."""
    config = OmegaConf.load(Path(sam2.__path__[0]) / "configs" / "sam2.1" / "sam2.1_hiera_t.yaml")
    path = tmp_path_factory.mktemp("sam2") / "random_tiny.pt"
    torch.save({"model": instantiate(config.model).state_dict()}, path)
    yield path
    path.unlink()


def test_whole_sam2_model_is_read(sam2_tiny: Path) -> None:
    """Its other parts are ignored by name, so the list of them must be complete."""
    backbone = SAM2Backbone("tiny", checkpoint=sam2_tiny)
    stored = contents(sam2_tiny)
    assert torch.equal(backbone.position()[0, 0, 0, 0], torch.sin(position_phase(stored)))
    assert torch.equal(backbone.point_type(1), stored["sam_prompt_encoder.point_embeddings.1.weight"])
    key = "trunk.blocks.11.mlp.layers.1.weight"
    assert torch.equal(backbone.image_encoder.state_dict()[key], stored[f"image_encoder.{key}"])


def position_phase(stored: dict[str, Tensor]) -> Tensor:
    """First feature of the position encoding of the first cell of the 64 x 64 grid, before the sine."""
    matrix = stored["sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"]
    cell = torch.full((2,), 2 * (0.5 / 64) - 1)
    return 2 * torch.pi * (cell @ matrix)[0]


def test_wrong_variant_names_the_key(sam2_tiny: Path) -> None:
    with pytest.raises(ValueError, match=r"does not fit the model \(is variant the right one\?\)"):
        SAM2Backbone("small", checkpoint=sam2_tiny)


class TestMissingFile:
    def test_official_name_comes_with_its_address(self, tmp_path: Path) -> None:
        path = tmp_path / "checkpoints" / "sam2.1_hiera_large.pt"
        with pytest.raises(FileNotFoundError) as error:
            micro_backbone(checkpoint=path)
        message = str(error.value)
        assert f"no SAM2 checkpoint at {path}" in message
        assert f"curl -L --create-dirs -o {path} {URL}/sam2.1_hiera_large.pt" in message

    def test_other_name_comes_with_the_options(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"checkpoint=None") as error:
            micro_backbone(checkpoint=tmp_path / "mine.pt")
        assert URL not in str(error.value)

    def test_folder_is_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="no SAM2 checkpoint at"):
            micro_backbone(checkpoint=tmp_path)


@pytest.mark.parametrize("name", OFFICIAL_FILES)
def test_official_name_needs_the_official_sha256(micro_checkpoint: Path, name: str) -> None:
    path = micro_checkpoint.rename(micro_checkpoint.with_name(name))
    with pytest.raises(ValueError, match=f"is not the official {name}: sha256 {sha256_of(path)}") as error:
        micro_backbone(checkpoint=path)
    assert OFFICIAL_FILES[name].sha256 in str(error.value)
    assert OFFICIAL_FILES[name].url in str(error.value)


def test_official_files_are_those_of_the_readme() -> None:
    assert {name: (file.sha256[:8], file.num_bytes) for name, file in OFFICIAL_FILES.items()} == {
        "sam2.1_hiera_tiny.pt": ("7402e0d8", 156_008_466),
        "sam2.1_hiera_small.pt": ("6d1aa6f3", 184_416_285),
        "sam2.1_hiera_base_plus.pt": ("a2345aed", 323_606_802),
        "sam2.1_hiera_large.pt": ("2647878d", 898_083_611),
    }
    assert all(len(file.sha256) == 64 for file in OFFICIAL_FILES.values())


class TestDamagedFiles:
    """Whatever is in the file, the user reads one clear ValueError."""

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:2647\nsize 898083611\n",
            b"<!DOCTYPE html><html><body>404</body></html>",
            b'{"message": "Not Found"}',
            b"error: not found\n",  # as pickle code, these letters pop from an empty stack
            b"access denied\n",
            b"Moved permanently",
            b"Gone",  # and this asks for an 8-byte float
            b"J",
            b"\x80\x02}",
            b"PK\x03\x04 half a zip file",
        ],
    )
    def test_no_checkpoint(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "mine.pt"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"mine\.pt is damaged or not a PyTorch checkpoint of plain tensors: \S"):
            micro_backbone(checkpoint=path)

    def test_interrupted_download(self, micro_checkpoint: Path) -> None:
        micro_checkpoint.write_bytes(micro_checkpoint.read_bytes()[:-1000])
        with pytest.raises(ValueError, match="is damaged or not a PyTorch checkpoint"):
            micro_backbone(checkpoint=micro_checkpoint)

    @pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
    @pytest.mark.parametrize("place", ["beside", "within"])
    def test_code_in_the_file_is_not_run(self, micro_checkpoint: Path, place: str, legacy: bool) -> None:
        canary = micro_checkpoint.with_name("canary")

        class Payload:
            def __reduce__(self) -> tuple:
                return Path.touch, (canary,)

        content = {"model": contents(micro_checkpoint)}
        (content if place == "beside" else content["model"])["payload"] = Payload()
        torch.save(content, micro_checkpoint, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(ValueError, match="is damaged or not a PyTorch checkpoint of plain tensors"):
            micro_backbone(checkpoint=micro_checkpoint)
        assert not canary.exists()
        torch.load(micro_checkpoint, weights_only=False)
        assert canary.exists()  # the payload would have worked

    def test_code_in_a_bare_pickle_is_not_run(self, tmp_path: Path) -> None:
        path, canary = tmp_path / "mine.pt", tmp_path / "canary"

        class Payload:
            def __reduce__(self) -> tuple:
                return Path.touch, (canary,)

        path.write_bytes(pickle.dumps(Payload(), protocol=2))
        with pytest.raises(ValueError, match="is damaged or not a PyTorch checkpoint of plain tensors"):
            micro_backbone(checkpoint=path)
        assert not canary.exists()

    @pytest.mark.parametrize(
        "content",
        [
            {},
            [1, 2],
            torch.zeros(3),
            {"state_dict": {"a": torch.zeros(3)}},
            {"model": None},
            {"model": [torch.zeros(3)]},
            {"model": {"a": 1}},
            {"model": {1: torch.zeros(3)}},
        ],
        ids=["empty", "list", "tensor", "other key", "none", "model is a list", "not a tensor", "key is no name"],
    )
    def test_other_format(self, tmp_path: Path, content: object) -> None:
        torch.save(content, tmp_path / "mine.pt")
        with pytest.raises(
            ValueError, match=r"not in SAM2's checkpoint format: it must hold \{\"model\": state_dict\}"
        ):
            micro_backbone(checkpoint=tmp_path / "mine.pt")

    def test_bare_state_dict(self, micro_checkpoint: Path) -> None:
        torch.save(contents(micro_checkpoint), micro_checkpoint)
        with pytest.raises(ValueError, match=r"it must hold \{\"model\": state_dict\}"):
            micro_backbone(checkpoint=micro_checkpoint)


class TestKeys:
    WEIGHT = "image_encoder.trunk.blocks.0.attn.qkv.weight"

    def test_missing(self, micro_checkpoint: Path) -> None:
        rewrite(micro_checkpoint, **{self.WEIGHT: None, "sam_prompt_encoder.no_mask_embed.weight": None})
        with pytest.raises(ValueError, match=rf"2 missing: {self.WEIGHT}, sam_prompt_encoder\.no_mask_embed\.weight$"):
            micro_backbone(checkpoint=micro_checkpoint)

    @pytest.mark.parametrize("key", ["image_encoder.trunk.blocks.8.norm1.weight", "sam_prompt_encoder.x", "unheard_of"])
    def test_unexpected(self, micro_checkpoint: Path, key: str) -> None:
        rewrite(micro_checkpoint, **{key: torch.zeros(2)})
        with pytest.raises(ValueError, match=f"1 unexpected: {key}$"):
            micro_backbone(checkpoint=micro_checkpoint)

    def test_other_shape(self, micro_checkpoint: Path) -> None:
        rewrite(micro_checkpoint, **{self.WEIGHT: torch.zeros(75, 16)})
        with pytest.raises(ValueError, match=rf"1 of another shape: {self.WEIGHT} \(75, 16\) instead of \(48, 16\)$"):
            micro_backbone(checkpoint=micro_checkpoint)

    def test_all_at_once(self, micro_checkpoint: Path) -> None:
        rewrite(micro_checkpoint, **{self.WEIGHT: None, "unheard_of": torch.zeros(2)})
        with pytest.raises(ValueError, match=f"(?s)1 missing: {self.WEIGHT}.*1 unexpected: unheard_of"):
            micro_backbone(checkpoint=micro_checkpoint)

    def test_long_lists_are_cut(self) -> None:
        wanted = {f"key{number}": torch.zeros(1) for number in range(5)}
        assert key_difference(wanted, {}, most=2) == "  5 missing: key0, key1 ... and 3 more"

    def test_no_difference(self) -> None:
        assert key_difference({"a": torch.zeros(2)}, {"a": torch.ones(2)}) == ""
