"""The oracle's point: the centroid, and the remark if it lies on no object."""

import torch

from ipsam.model.baselines import SAM2, OraclePoint
from ipsam.model.baselines.prompted import EMPTY, OUTSIDE, centroid


def ring() -> torch.Tensor:
    mask = torch.ones(21, 31, dtype=torch.bool)
    mask[3:-3, 3:-3] = False
    return mask


def test_centroid_is_the_mean_pixel_as_a_share_of_the_size() -> None:
    mask = torch.zeros(20, 40, dtype=torch.bool)
    mask[4:9, 10:21] = True
    point, remark = centroid(mask)
    torch.testing.assert_close(point, torch.tensor([15 / 40, 6 / 20]))
    assert remark == ""


def test_centroid_of_a_hollow_object_is_used_and_remarked() -> None:
    point, remark = centroid(ring())
    torch.testing.assert_close(point, torch.tensor([15 / 31, 10 / 21]))
    assert remark == OUTSIDE


def test_no_object_takes_the_centre() -> None:
    point, remark = centroid(torch.zeros(5, 5, dtype=torch.bool))
    assert point.tolist() == [0.5, 0.5]
    assert remark == EMPTY


@torch.no_grad()
def test_each_image_has_its_own_point() -> None:
    model = OraclePoint(SAM2("micro", image_size=64)).eval()
    images = torch.randn(2, 3, 64, 64)
    mask = torch.zeros(30, 50, dtype=torch.bool)
    mask[:5, :5] = True
    output = model(images, [mask, ring()])
    assert output.remarks == ["", OUTSIDE]
    for index, own in enumerate([mask, ring()]):
        alone = model(images[index : index + 1], [own])
        torch.testing.assert_close(output.logits[index], alone.logits[0], atol=1e-4, rtol=0)
