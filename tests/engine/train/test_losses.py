import math

import pytest
import torch
import torch.nn.functional as F
from support.builders import micro_model
from support.defaults import loss_weights_with, settings_with
from support.training import same
from torch import Tensor

from ipsam.engine.runs.settings import TermWeights
from ipsam.engine.train.losses import EPS, EQUAL, ipsam_loss, mask_loss, soft_dice_loss, soft_iou_loss
from ipsam.model import IPSAMOutput

PARTS = ("bce", "iou", "l1")
OUTPUTS = ("coarse", "refined", "fg", "bg", "auxiliary")
MASK = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
LN3 = math.log(3)  # the logit of probability 3/4


def terms_with(**weights: float) -> TermWeights:
    return settings_with(terms=weights).terms


@pytest.mark.parametrize(
    ("logits", "bce", "iou", "l1"),
    [
        # p = 1/2 everywhere; intersection 1/2, union 4/2 + 1 - 1/2 = 5/2, each plus one pixel
        (torch.zeros(1, 1, 2, 2), math.log(2), 1 - 1.5 / 3.5, 0.5),
        # p = 3/4, 3/4, 1/4, 1/4 against 1, 0, 0, 0
        (
            torch.tensor([[[[LN3, LN3], [-LN3, -LN3]]]]),
            -(3 * math.log(0.75) + math.log(0.25)) / 4,
            1 - (0.75 + 1) / (2 + 1 - 0.75 + 1),
            (0.25 + 0.75 + 0.25 + 0.25) / 4,
        ),
        (MASK * 200 - 100, 0, 0, 0),
    ],
    ids=["undecided", "mixed", "confident and correct"],
)
def test_golden_values_by_hand(logits: Tensor, bce: float, iou: float, l1: float) -> None:
    terms = mask_loss(logits, MASK)
    assert [terms[part].item() for part in PARTS] == pytest.approx([bce, iou, l1])


def test_dice_by_hand_is_averaged_over_images() -> None:
    """Intersections 3/4 and 1, sums of areas 2 + 1 and 1 + 1, each plus one pixel."""
    mixed = torch.tensor([[0.75, 0.75], [0.25, 0.25]])
    prob, mask = torch.stack([mixed, MASK[0, 0]])[:, None], MASK.repeat(2, 1, 1, 1)
    assert soft_dice_loss(prob, mask).item() == pytest.approx((1 - 2.5 / 4) / 2)
    assert soft_dice_loss(prob * 0, mask * 0).item() == 0
    terms = mask_loss(torch.logit(mixed)[None, None], MASK, terms_with(dice=1.0))
    assert list(terms) == [*PARTS, "dice"]
    assert terms["dice"].item() == pytest.approx(1 - 2.5 / 4)


def test_soft_iou_is_averaged_over_images() -> None:
    """By hand: a perfect and a wholly wrong image; pooling over the batch would give another number."""
    mask = torch.stack([torch.ones(1, 2, 2), MASK[0]])
    prob = torch.stack([torch.ones(1, 2, 2), torch.tensor([[[0.0, 1.0], [1.0, 1.0]]])])
    assert soft_iou_loss(prob, mask).item() == pytest.approx((0 + (1 - EPS / (4 + EPS))) / 2)


def test_soft_iou_is_defined_on_empty_masks() -> None:
    empty = torch.zeros(1, 1, 2, 2)
    assert soft_iou_loss(empty, empty).item() == 0
    prob = torch.full((1, 1, 2, 2), 0.5, requires_grad=True)
    loss = soft_iou_loss(prob, empty)
    assert loss.item() == pytest.approx(1 - 1 / 3)
    loss.backward()
    assert (prob.grad > 0).all()  # an empty mask pulls every pixel down


def test_logits_are_resized_to_the_mask() -> None:
    logits, mask = torch.randn(2, 1, 4, 4), (torch.rand(2, 1, 16, 16) > 0.5).float()
    resized = F.interpolate(logits, size=(16, 16), mode="bilinear", align_corners=False)
    assert same(mask_loss(logits, mask), mask_loss(resized, mask))


@pytest.mark.parametrize(
    ("parts", "supervised"),
    [
        ({"self_prompt": False, "lateral": False, "refine": False}, ["coarse"]),
        ({"gating": False, "lateral": False, "refine": False}, ["coarse", "fg", "bg"]),
        ({"lateral": False, "refine": False}, ["coarse", "fg", "bg"]),
        ({"refine": False}, ["coarse", "fg", "bg", "auxiliary"]),
        ({}, ["coarse", "refined", "fg", "bg", "auxiliary"]),
    ],
    ids=["baseline", "spg", "spg_psg", "spg_psg_lat", "full"],
)
def test_terms_of_each_row_of_table_2(parts: dict[str, bool], supervised: list[str]) -> None:
    losses = ipsam_loss(micro_model(**parts)(torch.randn(1, 3, 64, 64)), torch.ones(1, 1, 64, 64), loss_weights_with())
    assert list(losses) == ["total", *(f"{name}/{part}" for name in supervised for part in PARTS)]
    losses["total"].backward()


def test_half_precision_logits_are_scored_in_single_precision() -> None:
    logits, mask = torch.randn(2, 1, 8, 8).bfloat16(), torch.ones(2, 1, 8, 8)
    terms = mask_loss(logits, mask)
    assert all(terms[part].dtype == torch.float32 for part in PARTS)
    assert torch.equal(terms["bce"], mask_loss(logits.float(), mask)["bce"])


def test_default_weights() -> None:
    assert terms_with() == EQUAL
    assert loss_weights_with() == loss_weights_with(coarse=1.0, refined=1.0, fg=1.0, bg=1.0, auxiliary=0.1)


@pytest.mark.parametrize("supervised", [*OUTPUTS, "all"])
def test_total_is_the_weighted_sum_of_the_terms(supervised: str) -> None:
    levels = [torch.full((1, 1, side, side), value) for side, value in ((8, 0.0), (4, 1.0), (2, -2.0))]
    given = {"coarse": 0.1, "refined": -0.2, "fg_logits": 0.3, "bg_logits": -0.4}
    logits = {name: torch.full((1, 1, 2, 2), value) for name, value in given.items()}
    mask = torch.zeros(1, 4, 2, 2)
    all_weights = {"coarse": 1.0, "refined": 2.0, "fg": 3.0, "bg": 4.0, "auxiliary": 5.0}
    weights = {name: weight * (supervised in (name, "all")) for name, weight in all_weights.items()}
    losses = ipsam_loss(IPSAMOutput(mask, **logits, auxiliary=levels), MASK, loss_weights_with(**weights))
    assert losses["total"].item() == pytest.approx(
        sum(weights[name] * losses[f"{name}/{part}"].item() for name in OUTPUTS for part in PARTS)
    )
    for part in PARTS:
        assert losses[f"fg/{part}"].item() == pytest.approx(mask_loss(logits["fg_logits"], MASK)[part].item())
        assert losses[f"bg/{part}"].item() == pytest.approx(mask_loss(logits["bg_logits"], 1 - MASK)[part].item())
        mean = sum(mask_loss(level, MASK)[part].item() for level in levels) / 3
        assert losses[f"auxiliary/{part}"].item() == pytest.approx(mean)


def test_terms_are_weighted_and_those_of_weight_0_are_left_out() -> None:
    outputs = IPSAMOutput(torch.zeros(1, 4, 2, 2), coarse=torch.randn(1, 1, 2, 2), fg_logits=torch.randn(1, 1, 2, 2))
    given = terms_with(bce=0.0, iou=2.0, l1=0.5, dice=3.0)
    losses = ipsam_loss(outputs, MASK, loss_weights_with(coarse=0.3), given)
    names = [f"{output}/{part}" for output in ("coarse", "fg") for part in ("iou", "l1", "dice")]
    assert list(losses) == ["total", *names]
    expected = {"coarse": 0.3, "fg": 1.0}, {"iou": 2.0, "l1": 0.5, "dice": 3.0}
    assert losses["total"].item() == pytest.approx(
        sum(expected[0][name.split("/")[0]] * expected[1][name.split("/")[1]] * losses[name].item() for name in names)
    )
