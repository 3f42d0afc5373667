"""The training loop that one would write first: what ``ipsam.engine.train.trainer`` is compared with."""

from collections.abc import Callable, Sequence

import torch
import torchvision.transforms as T
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from ipsam.data.pairs import Pair
from ipsam.engine.runs.settings import LossWeights
from ipsam.engine.train.losses import ipsam_loss
from ipsam.utils.imagenet import MEAN, STD


class PlainPairs(Dataset[tuple[Tensor, Tensor]]):
    """Pairs on disk by Pillow and torchvision's transforms, as most code of this field reads them.

    Args:
        pairs: their files.
        image_size: side of the square that images and masks are resized to.
        hflip: chance of a horizontal flip.
        asked: called for each item.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        *,
        image_size: int,
        hflip: float = 0.0,
        asked: Callable[[], object] | None = None,
    ) -> None:
        size = (image_size, image_size)
        self.pairs = pairs
        self.hflip = hflip
        self.asked = asked
        self.resize, self.resize_mask = T.Resize(size), T.Resize(size, T.InterpolationMode.NEAREST)
        self.to_tensor, self.normalise = T.ToTensor(), T.Normalize(MEAN, STD)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if self.asked is not None:
            self.asked()
        pair = self.pairs[index]
        image = self.resize(Image.open(pair.image).convert("RGB"))
        mask = self.resize_mask(Image.open(pair.mask).convert("L"))
        if self.hflip and torch.rand(()) < self.hflip:
            image, mask = (one.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for one in (image, mask))
        return self.normalise(self.to_tensor(image)), self.to_tensor(mask)


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
        model: trained in place, LoRA by peft's own layers.
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
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trainable, clip)
        optimizer.step()
        optimizer.zero_grad()  # here, so that all gradients count as what a step takes
        losses.append(loss.item())
    return losses
