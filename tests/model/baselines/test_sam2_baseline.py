"""SAM2 as a baseline equals sam2's own predictor and mask generator."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam.transformer import TwoWayTransformer
from sam2.sam2_image_predictor import SAM2ImagePredictor
from torch import Tensor

from ipsam.model.baselines import SAM2, AutomaticMask, HieraAdapter, NullPrompt, OraclePoint, WholeImageBox
from ipsam.model.baselines.automatic import NONE_FOUND
from ipsam.model.baselines.promptable import Prompts
from ipsam.utils.imagenet import normalise

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")  # sam2's predictor
SIZE = 64
FEATURES = [(16, 16), (8, 8), (4, 4)]  # sam2's predictor assumes those of 1024 px


@pytest.fixture
def sam2() -> SAM2:
    return lively(SAM2("micro", image_size=SIZE))


def lively(model: SAM2) -> SAM2:
    """Random weights far enough from zero that every part shows in the output."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def network_input(picture: np.ndarray) -> Tensor:
    return normalise(torch.from_numpy(picture).permute(2, 0, 1))[None]


def predictor(model: SAM2, picture: np.ndarray) -> SAM2ImagePredictor:
    predictor = SAM2ImagePredictor(model.model)
    predictor._bb_feat_sizes = FEATURES
    predictor.set_image(picture)
    return predictor


MASK = torch.zeros(SIZE, SIZE, dtype=torch.bool)
MASK[10:21, 30:51] = True  # its centroid is (40, 15)
ZEROS = np.zeros((1, SIZE // 4, SIZE // 4), np.float32)
BOX = np.array([5.0, 6.0, 40.0, 50.0], np.float32)
CENTROID = {"point_coords": np.array([[40.0, 15.0]], np.float32), "point_labels": np.array([1])}
POINTS = torch.from_numpy(CENTROID["point_coords"])[None]
Segment = Callable[[SAM2, Tensor], Tensor]
PROMPTS: dict[str, tuple[Segment, dict[str, Any]]] = {
    "null": (lambda sam2, image: NullPrompt(sam2)(image).logits, {"mask_input": ZEROS}),
    "oracle": (lambda sam2, image: OraclePoint(sam2)(image, [MASK]).logits, CENTROID),
    "oracle, best of three": (
        lambda sam2, image: OraclePoint(sam2, multimask=True)(image, [MASK]).logits,
        {**CENTROID, "multimask_output": True},
    ),
    "box": (lambda sam2, image: sam2.segment(image, Prompts(boxes=torch.from_numpy(BOX)[None]))[0], {"box": BOX}),
    "whole image": (lambda sam2, image: WholeImageBox(sam2)(image).logits, {"box": np.array([0, 0, SIZE, SIZE])}),
    "point and box": (
        lambda sam2, image: sam2.segment(image, Prompts(points=POINTS, boxes=torch.from_numpy(BOX)[None]))[0],
        {**CENTROID, "box": BOX},
    ),
}


@torch.no_grad()
@pytest.mark.parametrize("name", PROMPTS)
def test_masks_equal_the_predictors(sam2: SAM2, picture: np.ndarray, name: str) -> None:
    segment, prompts = PROMPTS[name]
    _, iou, logits = predictor(sam2, picture).predict(**{"multimask_output": False} | prompts)
    assert np.abs(logits).max() > 0.1
    ours = segment(sam2, network_input(picture))
    np.testing.assert_allclose(ours[0, 0].clamp(-32, 32).numpy(), logits[iou.argmax()], atol=1e-4)


@torch.no_grad()
def test_images_of_a_batch_are_independent(sam2: SAM2) -> None:
    images = torch.randn(3, 3, SIZE, SIZE)
    boxes = torch.tensor([[0.0, 0, 64, 64], [5, 6, 40, 50], [10, 10, 20, 20]])
    together, _ = sam2.segment(images, Prompts(boxes=boxes))
    for index in range(3):
        alone, _ = sam2.segment(images[index : index + 1], Prompts(boxes=boxes[index : index + 1]))
        torch.testing.assert_close(together[index], alone[0], atol=1e-4, rtol=0)


@torch.no_grad()
def test_unstable_mask_is_replaced_as_in_sam2(sam2: SAM2, picture: np.ndarray) -> None:
    """By the best of the three others, unless the decoder was trained on the single mask."""
    trained = SAM2("micro", image_size=SIZE, train_decoder=True).eval()
    trained.load_state_dict(sam2.state_dict())
    prompts = Prompts(zero_mask=True)
    image = network_input(picture)
    three, iou = sam2.segment(image, prompts, multimask=True)
    one, _ = sam2.segment(image, prompts)
    own, _ = trained.segment(image, prompts)
    assert torch.equal(one[:, 0], three[:, iou[0].argmax()])
    assert not torch.equal(own, one)


@torch.no_grad()
@pytest.mark.parametrize(
    "thresholds",
    [
        {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0},
        {"pred_iou_thresh": 0.5, "stability_score_thresh": 0.2, "box_nms_thresh": 0.9},
    ],
    ids=["all", "filtered"],
)
def test_amg_is_sam2s_generators_best(sam2: SAM2, thresholds: dict[str, float]) -> None:
    pictures = np.random.default_rng(1).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    images = torch.cat([network_input(picture) for picture in pictures])
    output = AutomaticMask(sam2, points_per_side=4, **thresholds)(images)
    generator = SAM2AutomaticMaskGenerator(sam2.model, points_per_side=4, **thresholds)
    generator.predictor._bb_feat_sizes = FEATURES
    for index, picture in enumerate(pictures):
        masks = generator.generate(picture)
        assert masks
        best = max(masks, key=lambda mask: mask["predicted_iou"])
        np.testing.assert_array_equal(output.logits[index, 0].numpy() > 0, best["segmentation"])
    assert output.remarks == ["", ""]
    assert {-10.0, 10.0} >= set(output.logits.unique().tolist())


@torch.no_grad()
def test_amg_without_a_find_is_an_empty_map_with_a_remark(sam2: SAM2, picture: np.ndarray) -> None:
    output = AutomaticMask(sam2, points_per_side=2, pred_iou_thresh=1.0)(network_input(picture))
    assert (output.logits == -10).all()
    assert output.remarks == [NONE_FOUND]


def test_two_mask_decoder_is_that_of_sam2_adapters_code() -> None:
    """It is built there as below; here it starts from SAM2's weights, and nothing else changes."""
    options = {"use_high_res_features": True, "pred_obj_scores": True, "pred_obj_scores_mlp": False}
    transformer = TwoWayTransformer(depth=2, embedding_dim=64, num_heads=8, mlp_dim=2048)
    theirs = MaskDecoder(transformer_dim=64, transformer=transformer, num_multimask_outputs=1, **options).state_dict()
    states = []
    for two in (False, True):
        torch.manual_seed(2)
        adapter = HieraAdapter(scale_factor=8)
        model = SAM2("micro", image_size=SIZE, adapter=adapter, train_decoder=True, two_mask_decoder=two)
        states.append(model.model.state_dict())
    full, narrow = states
    decoder = {name: tensor for name, tensor in narrow.items() if name.startswith("sam_mask_decoder.")}
    shapes = {name.removeprefix("sam_mask_decoder."): tensor.shape for name, tensor in decoder.items()}
    assert shapes == {name: tensor.shape for name, tensor in theirs.items()}
    for name, tensor in narrow.items():
        assert ".pred_obj_score_head." in name or torch.equal(tensor, full[name][: len(tensor)]), name
    assert NullPrompt(model)(torch.randn(1, 3, SIZE, SIZE)).logits.shape == (1, 1, 16, 16)
    assert all(parameter.requires_grad for parameter in model.model.sam_mask_decoder.parameters())


def test_weights_in_sam2s_format(sam2: SAM2, tmp_path: Path, picture: np.ndarray) -> None:
    """Encoders, mask decoder and the embedding for "no memory" come from the file; its other parts are ignored."""
    names = ("image_encoder.", "sam_prompt_encoder.", "sam_mask_decoder.", "no_mem_embed")
    state = {key: tensor for key, tensor in sam2.model.state_dict().items() if key.startswith(names)}
    state |= {"memory_attention.norm.weight": torch.zeros(3), "obj_ptr_proj.layers.0.weight": torch.zeros(2)}
    path = tmp_path / "micro.pt"
    torch.save({"model": state}, path)
    loaded = SAM2("micro", image_size=SIZE, checkpoint=path).eval()
    assert loaded.base_sha256 is not None
    with torch.no_grad():
        image = network_input(picture)
        assert torch.equal(NullPrompt(loaded)(image).logits, NullPrompt(sam2)(image).logits)
    del state["sam_mask_decoder.iou_token.weight"]
    torch.save({"model": state}, path)
    with pytest.raises(ValueError, match=r"does not fit the model.*\n +1 missing: sam_mask_decoder\.iou_token\.weight"):
        SAM2("micro", image_size=SIZE, checkpoint=path)
