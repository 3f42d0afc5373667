"""Models of transformers that can be backbones: their sizes, where their layers are, and the names in their files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ipsam.model.backbones.backbone import MULTIPLE, NUM_LEVELS, PATCH, feature_pyramid
from ipsam.model.lora import AttentionBlock, hiera_blocks
from ipsam.utils.imagenet import MEAN, STD

HALF = (0.5, 0.5, 0.5)


def _nothing_to_do(encoder: Any, image_size: int) -> None:
    pass


def _no_layers(_: Any) -> list[nn.Module]:
    return []


@dataclass(frozen=True)
class Family:
    """Models of one architecture.

    Attributes:
        model: name of the class in transformers, without ``Model``.
        vision: name of its image encoder there.
        variants: by name, the differences from the defaults of transformers' ``vision_config``.
        published: by variant, the repository of the weights on the Hugging Face Hub.
        pyramid: computes the coarsest ``num_levels`` of the pyramid, finest first.
        num_levels: levels that it can compute.
        blocks: the image encoder's blocks in order; none if the trunk is not made of blocks.
        attention: the trunk's attention projections for LoRA, and the trunk; None if it has none.
        finer: layers of the two finer levels alone.
        unused: layers that no level reads.
        multiple: an input's side is a multiple of this many pixels.
        patch: pixels a side of a cell of the embedding grid.
        resize: prepares the image encoder for another image size; None if that is impossible.
        mean, std: normalisation of the input.
        renames: prefixes of keys in files, with ours in place of them, one after the other.
    """

    model: str
    vision: str
    variants: Mapping[str, dict[str, Any]]
    published: Mapping[str, str]
    pyramid: Callable[[Any, Tensor, int], list[Tensor]]
    blocks: Callable[[Any], list[nn.Module]]
    attention: Callable[[Any], tuple[nn.Module, list[AttentionBlock]]] | None
    finer: Callable[[Any], list[nn.Module]]
    num_levels: int = NUM_LEVELS
    unused: Callable[[Any], list[nn.Module]] = _no_layers
    multiple: int = MULTIPLE
    patch: int = PATCH
    resize: Callable[[Any, int], None] | None = _nothing_to_do
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    renames: Mapping[str, str] = field(default_factory=dict)


def _hiera(
    width: int, heads: int, blocks: list[int], *, everywhere: list[int], windows: list[int], background: int = 7
) -> dict[str, Any]:
    """Describe a Hiera trunk; ``everywhere`` lists the blocks of global attention."""
    widths = [width * 2**stage for stage in range(4)]
    trunk = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": width,
        "num_attention_heads": heads,
        "blocks_per_stage": blocks,
        "embed_dim_per_stage": widths,
        "num_attention_heads_per_stage": [heads * 2**stage for stage in range(4)],
        "global_attention_blocks": everywhere,
        "window_size_per_stage": windows,
        "window_positional_embedding_background_size": [background, background],
    }
    return {"backbone_config": trunk, "backbone_channel_list": widths[::-1]}


def _timm(name: str, widths: list[int]) -> dict[str, Any]:
    arguments = {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]}
    trunk = {"model_type": "timm_wrapper", "architecture": name, "model_args": arguments, "num_classes": 1}
    return {"backbone_config": trunk, "backbone_channel_list": widths[::-1]}


def _vit(width: int, layers: int, heads: int, *, mlp: int) -> dict[str, Any]:
    """Describe a plain ViT with global attention in the last block of each quarter."""
    everywhere = [layers // 4 * quarter - 1 for quarter in (1, 2, 3, 4)]
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, "mlp_dim": mlp}
    return {**sizes, "global_attn_indexes": everywhere}


def _from_fpn(encoder: Any, image: Tensor, num_levels: int) -> list[Tensor]:
    stages = encoder.backbone(image).intermediate_hidden_states  # channels last
    return feature_pyramid(encoder.neck, [stage.permute(0, 3, 1, 2) for stage in stages], num_levels)


def _from_timm(encoder: Any, image: Tensor, num_levels: int) -> list[Tensor]:
    return feature_pyramid(encoder.neck, encoder.backbone(image).last_hidden_state, num_levels)


def _from_vit(encoder: Any, image: Tensor, num_levels: int) -> list[Tensor]:
    tokens = encoder.backbone(image).last_hidden_state  # (b, h * w, c)
    side = image.shape[-1] // encoder.config.backbone_config.patch_size
    grid = tokens.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    return [layer(grid) for layer in encoder.neck.fpn_layers[NUM_LEVELS - num_levels : NUM_LEVELS]]


def _resize_vit(encoder: Any, image_size: int) -> None:
    """Compute the rotary positions of global attention for another size."""
    encoder.config.image_size = image_size
    for layer in encoder.backbone.layers:
        if not layer.window_size:
            layer.position_ids = layer.precompute_positions(layer.config, 0).to(layer.position_ids.device)


def _vit_attention(trunk: Any, qkv: tuple[str, ...], proj: str) -> tuple[nn.Module, list[AttentionBlock]]:
    """List a plain ViT's blocks; a stage ends with a block of global attention."""
    ends = sorted(trunk.config.global_attn_indexes)
    blocks = []
    for index in range(len(trunk.layers)):
        stage = 1 + sum(index > end for end in ends)
        names = tuple(f"layers.{index}.{name}" for name in qkv)
        blocks.append(AttentionBlock(stage, qkv=names, proj=(f"layers.{index}.{proj}",)))
    return trunk, blocks


FAMILIES = {
    "sam2": Family(
        "Sam2",
        "sam2",
        {
            "large": _hiera(144, 2, [2, 6, 36, 4], everywhere=[23, 33, 43], windows=[8, 4, 16, 8]),
            "base_plus": _hiera(112, 2, [2, 3, 16, 3], everywhere=[12, 16, 20], windows=[8, 4, 14, 7], background=14),
            "small": _hiera(96, 1, [1, 2, 11, 2], everywhere=[7, 10, 13], windows=[8, 4, 14, 7]),
            "tiny": _hiera(96, 1, [1, 2, 7, 2], everywhere=[5, 7, 9], windows=[8, 4, 14, 7]),
            "micro": {**_hiera(16, 1, [1, 1, 2, 1], everywhere=[3], windows=[8, 4, 8, 4]), "fpn_hidden_size": 64},
        },
        {name: f"facebook/sam2.1-hiera-{name.replace('_', '-')}" for name in ("large", "base_plus", "small", "tiny")},
        pyramid=_from_fpn,
        blocks=lambda encoder: list(encoder.backbone.blocks),
        attention=lambda encoder: (encoder.backbone, hiera_blocks(encoder.backbone)),
        finer=lambda encoder: list(encoder.neck.convs[2:]),
    ),
    "sam3": Family(
        "Sam3Tracker",
        "sam3",
        {
            "large": {},
            "micro": {
                "backbone_config": {
                    **_vit(32, 4, 2, mlp=64),
                    "model_type": "sam3_vit_model",
                    "intermediate_size": 64,
                    "patch_size": 16,
                    "window_size": 2,
                    "global_attn_indexes": [1, 3],
                    "pretrain_image_size": 32,
                },
                "fpn_hidden_size": 64,
            },
        },
        {"large": "facebook/sam3"},
        pyramid=_from_vit,
        blocks=lambda encoder: list(encoder.backbone.layers),
        attention=lambda encoder: _vit_attention(
            encoder.backbone, ("attention.q_proj", "attention.k_proj", "attention.v_proj"), "attention.o_proj"
        ),
        finer=lambda encoder: list(encoder.neck.fpn_layers[:2]),
        unused=lambda encoder: list(encoder.neck.fpn_layers[NUM_LEVELS:]),
        multiple=14,
        resize=_resize_vit,
        patch=14,
        mean=HALF,
        std=HALF,
        renames={
            "tracker_model.": "",
            "detector_model.vision_encoder.backbone.": "vision_encoder.backbone.",
            "tracker_neck.": "vision_encoder.neck.",
        },
    ),
    "edgetam": Family(
        "EdgeTam",
        "edgetam",
        {
            "repvit_m1": _timm("repvit_m1", [48, 96, 192, 384]),
            "micro": {**_timm("test_convnext", [24, 32, 48, 64]), "fpn_hidden_size": 64},
        },
        {"repvit_m1": "yonigozlan/EdgeTAM-hf"},
        pyramid=_from_timm,
        blocks=_no_layers,
        attention=None,
        finer=lambda encoder: list(encoder.neck.convs[2:]),
    ),
    "sam": Family(
        "Sam",
        "sam",
        {
            "huge": _vit(1280, 32, 16, mlp=5120),
            "large": _vit(1024, 24, 16, mlp=4096),
            "base": _vit(768, 12, 12, mlp=3072),
            "micro": {
                **_vit(48, 4, 4, mlp=96),
                "window_size": 3,
                "output_channels": 64,
                "num_pos_feats": 32,
                "initializer_range": 0.02,
                "global_attn_indexes": [1, 3],
            },
        },
        {name: f"facebook/sam-vit-{name}" for name in ("huge", "large", "base")},
        pyramid=lambda encoder, image, _: [encoder(image).last_hidden_state],
        num_levels=1,
        blocks=lambda encoder: list(encoder.layers),
        attention=lambda encoder: _vit_attention(encoder, ("attn.qkv",), "attn.proj"),
        finer=_no_layers,
        multiple=16,
        resize=None,  # its position embeddings are parameters
    ),
}
