"""IPSAM: outputs of every row of Table 2, inputs of the parts, and the checkpoint's names."""

import hashlib
from typing import Any

import pytest
import torch
from support.builders import DIM, TRANSFORMER, micro_backbone, micro_model, micro_parts, randomise
from torch import Tensor, nn

from ipsam.model import IPSAM, IPSAMOutput, MaskDecoder, SelfPromptGenerator

ROWS = {  # Table 2: each row adds a part
    "baseline": {"self_prompt": False, "gating": False, "lateral": False, "refine": False},
    "spg": {"gating": False, "lateral": False, "refine": False},
    "spg_psg": {"lateral": False, "refine": False},
    "spg_psg_lat": {"refine": False},
    "full": {},
}
rows = pytest.mark.parametrize("row", ROWS)


def images(batch: int = 2, size: int = 64) -> Tensor:
    return torch.randn(batch, 3, size, size)


def inputs_of(module: nn.Module, model: IPSAM, image: Tensor) -> tuple[IPSAMOutput, tuple[Any, ...], dict[str, Any]]:
    """The model's output, and the positional and keyword arguments it calls one of its parts with."""
    calls = []
    handle = module.register_forward_pre_hook(lambda _, args, kwargs: calls.append((args, kwargs)), with_kwargs=True)
    output = model(image)
    handle.remove()
    [(args, kwargs)] = calls
    return output, args, kwargs


@rows
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_outputs_of_every_table_2_row(row: str, batch: int, training: bool) -> None:
    size = 96  # 6 x 6 embedding grid, 24 x 24 mask grid: no two sizes coincide
    model = micro_model(image_size=size, **ROWS[row]).train(training)
    output = model(images(batch, size))
    on_mask_grid, levels = (batch, 1, 24, 24), [(batch, 1, side, side) for side in (24, 12, 6)]
    shapes = {
        "mask_logits": (batch, 4, 24, 24),
        "coarse": on_mask_grid,
        "fg_logits": None if row == "baseline" else on_mask_grid,
        "bg_logits": None if row == "baseline" else on_mask_grid,
        "gate": None if row in ("baseline", "spg") else (batch, 1, 6, 6),
        "refined": on_mask_grid if row == "full" else None,
    }
    for name, shape in shapes.items():
        tensor = getattr(output, name)
        assert (None if tensor is None else tensor.shape) == shape, name
    assert output.gate is None or 0 < output.gate.min() <= output.gate.max() < 1
    assert output.logits is (output.refined if row == "full" else output.coarse)
    expected = levels if training and row in ("spg_psg_lat", "full") else []
    assert [logits.shape for logits in output.auxiliary] == expected


def test_images_of_a_batch_are_independent() -> None:
    model = micro_model().eval()
    randomise(model.gating)
    randomise(model.refine)
    image = images(2)
    torch.testing.assert_close(model(image).logits[:1], model(image[:1]).logits, rtol=1e-4, atol=1e-4)


def test_lateral_inhibition_without_refinement_changes_nothing_in_eval() -> None:
    model = micro_model(refine=False).eval()
    image = images()
    with_lateral = model(image).logits
    model.lateral = None
    assert torch.equal(model(image).logits, with_lateral)


@pytest.mark.parametrize("reduction", ["mean", "first"])
def test_mask_reduction(reduction: str) -> None:
    output = micro_model(mask_reduction=reduction)(images())
    expected = output.mask_logits.mean(dim=1) if reduction == "mean" else output.mask_logits[:, 0]
    assert torch.equal(output.coarse[:, 0], expected)


@pytest.mark.parametrize("refine", [True, False])
def test_prediction_is_the_decoders_or_the_foreground_prompt(refine: bool) -> None:
    model = micro_model(refine=refine, prediction="fg_prompt").eval()
    image = images()
    direct = model(image)
    assert direct.logits is direct.fg_logits
    model.prediction = "decoder"
    decoded = model(image)
    assert decoded.logits is (decoded.refined if refine else decoded.coarse)
    assert torch.equal(decoded.coarse, direct.coarse)  # nothing else changes
    assert torch.equal(decoded.fg_logits, direct.fg_logits)


class TestConditioning:
    """Inputs of the decoder, the gate and the refinement head (paper sections 3.2 to 3.4)."""

    def test_sparse_prompts_are_tokens_plus_point_types_foreground_first(self) -> None:
        model = micro_model().eval()
        image = images()
        _, (features,), kwargs = inputs_of(model.decoder, model, image)
        prompts = model.self_prompt(features, model.backbone.position())
        points = model.backbone.prompt_encoder.point_embeddings
        foreground, background = kwargs["sparse"].split(2, dim=1)
        assert kwargs["sparse"].shape == (2, 4, DIM)
        assert torch.equal(foreground, prompts.fg_tokens + points[1].weight)
        assert torch.equal(background, prompts.bg_tokens + points[0].weight)

    def test_self_prompts_mask_tokens_replace_the_decoders(self) -> None:
        model = micro_model().eval()
        transformer_inputs = []
        model.decoder.transformer.register_forward_pre_hook(lambda _, args: transformer_inputs.append(args))
        _, (features,), kwargs = inputs_of(model.decoder, model, images())
        mask_tokens = model.self_prompt(features, model.backbone.position()).mask_tokens
        assert torch.equal(kwargs["mask_tokens"], mask_tokens)
        [(image, position, tokens)] = transformer_inputs
        iou_token = model.decoder.iou_token.weight.expand(2, 1, -1)
        assert torch.equal(tokens, torch.cat([iou_token, mask_tokens, kwargs["sparse"]], dim=1))
        assert torch.equal(image, features + kwargs["dense"])
        assert torch.equal(position, model.backbone.position().expand(2, -1, -1, -1))

    @pytest.mark.parametrize("num_mask_tokens", [0, 4])
    def test_the_decoders_own_mask_tokens_replace_self_prompts(self, num_mask_tokens: int) -> None:
        """Whether self_prompt makes none, or T is withheld (Table 3, part III)."""
        parts = micro_parts(
            self_prompt=SelfPromptGenerator(
                DIM, num_mask_tokens=num_mask_tokens, head_channels=(32, 32, 16, 16), **TRANSFORMER
            ),
            decoder=MaskDecoder(DIM, own_mask_tokens=True, **TRANSFORMER),
        )
        model = IPSAM(micro_backbone(), **parts).eval()
        tokens = []
        model.decoder.transformer.register_forward_pre_hook(lambda _, args: tokens.append(args[2]))
        _, _, kwargs = inputs_of(model.decoder, model, images())
        assert kwargs["sparse"].shape == (2, 4, DIM)
        assert tokens[0].shape == (2, 1 + 4 + 4, DIM)
        assert model.uses_all_parameters == (num_mask_tokens == 0)
        assert torch.equal(tokens[0][:, 1:5], model.decoder.mask_tokens.weight.expand(2, -1, -1))

    def test_dense_prompt_is_the_embedding_of_raw_logits(self) -> None:
        model = micro_model(gating=False).eval()
        output, _, kwargs = inputs_of(model.decoder, model, images())
        assert output.fg_logits.min() < 0 or output.fg_logits.max() > 1  # else raw logits could be probabilities
        assert torch.equal(kwargs["dense"], model.backbone.prompt_encoder._embed_masks(output.fg_logits))

    def test_gate_sees_foreground_then_background_and_the_decoder_its_result(self) -> None:
        model = micro_model().eval()
        randomise(model.gating)
        image = images()
        embed = model.backbone.prompt_encoder._embed_masks
        output, (foreground, background), _ = inputs_of(model.gating, model, image)
        assert torch.equal(foreground, embed(output.fg_logits))
        assert torch.equal(background, embed(output.bg_logits))
        purified, gate = model.gating(foreground, background)
        assert torch.equal(output.gate, gate)
        assert torch.equal(inputs_of(model.decoder, model, image)[2]["dense"], purified)

    def test_refinement_sees_the_gated_pyramid_and_the_purified_prompt(self) -> None:
        model = micro_model().eval()
        randomise(model.gating)
        image = images()
        output, (coarse, dense, features), _ = inputs_of(model.refine, model, image)
        assert torch.equal(coarse, output.coarse)
        assert torch.equal(dense, inputs_of(model.decoder, model, image)[2]["dense"])
        assert torch.equal(features, model.lateral(model.backbone(image), output.coarse)[-1])


PARTS = {  # number of tensors
    "backbone": 95,
    "self_prompt": 208,
    "gating": 12,
    "decoder": 113,
    "lateral": 4,
    "refine": 24,
}
KEYS_AND_SHAPES = "a61b04607cfd36595abeff7d55ba974bacf4490637772a524ee0a893f90007d8"


def test_checkpoint_keys_and_shapes_stay() -> None:
    """Renaming a part would make every published checkpoint unreadable."""
    model = micro_model()
    assert {name: len(part.state_dict()) for name, part in model.named_children()} == PARTS
    lines = [f"{key} {tuple(tensor.shape)}" for key, tensor in sorted(model.state_dict().items())]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == KEYS_AND_SHAPES
