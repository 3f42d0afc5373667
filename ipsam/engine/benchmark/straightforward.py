"""The training loop that one would write first: what ``ipsam.engine.trainer`` is compared with."""

from collections.abc import Callable, Sequence

import torch
import torchvision.transforms as T
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from ipsam.data.pairs import Pair
from ipsam.engine.losses import LossWeights, ipsam_loss
from ipsam.imagenet import MEAN, STD


class PlainPairs(Dataset[tuple[Tensor, Tensor]]):
    """Pairs on disk by Pillow and torchvision's transforms; calls ``asked`` for each item."""

    def __init__(self, pairs: Sequence[Pair], *, image_size: int, asked: Callable[[], object]) -> None:
        size = (image_size, image_size)
        self.pairs = pairs
        self.asked = asked
        self.image_transform = T.Compose([T.Resize(size), T.ToTensor(), T.Normalize(MEAN, STD)])
        self.mask_transform = T.Compose([T.Resize(size, T.InterpolationMode.NEAREST), T.ToTensor()])

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.asked()
        pair = self.pairs[index]
        image, mask = Image.open(pair.image).convert("RGB"), Image.open(pair.mask).convert("L")
        return self.image_transform(image), self.mask_transform(mask)


def train_straightforwardly(
    model: nn.Module,
    pairs: Dataset[tuple[Tensor, Tensor]],
    *,
    order: Sampler[int],
    batch_size: int,
    device: torch.device,
    lr_at: Callable[[int], float],
    weight_decay: float,
    clip: float,
    weights: LossWeights,
) -> list[float]:
    """One epoch in fp32; the loss of each step.

    Args:
        model: trained in place, LoRA apart.
        pairs: what to train on.
        order: of the pairs.
        batch_size: images a step.
        device: where to compute.
        lr_at: learning rate of each step.
        weight_decay: AdamW's.
        clip: largest norm of the whole gradient.
        weights: of the loss.
    """
    model.to(device).train()
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=lr_at(0), weight_decay=weight_decay, fused=False, foreach=False)
    losses = []
    for step, (image, mask) in enumerate(DataLoader(pairs, batch_size=batch_size, sampler=order)):
        for group in optimizer.param_groups:
            group["lr"] = lr_at(step)
        loss = ipsam_loss(model(image.to(device)), mask.to(device), weights)["total"]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trainable, clip)
        optimizer.step()
        losses.append(loss.item())
    return losses
