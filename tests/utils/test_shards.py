import pytest

from ipsam.utils.shards import WHOLE, Shard


def test_shares_are_counted_from_one() -> None:
    assert Shard.parse("3/16") == Shard(2, 16)
    assert str(Shard(2, 16)) == "3/16"
    assert Shard.parse(None) == Shard.parse("1/1") == WHOLE


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "1", "-1/4", "1/2/3", "one", 3, True, ""])
def test_other_values_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="shard must be a share such as 3/16, from 1/16 to 16/16, not "):
        Shard.parse(text)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("length", [0, 1, 10, 11])
def test_each_item_is_in_one_share_and_batches_stay_whole(length: int, batch_size: int) -> None:
    """Shares of machines, and within each the shares of its processes, of which another machine may have more."""
    items = list(range(length))
    shares = [
        Shard(rank, ranks).of(Shard(index, 3).of(items, batch_size), batch_size)
        for index, ranks in enumerate((1, 2, 4))
        for rank in range(ranks)
    ]
    assert sorted(item for share in shares for item in share) == items
    batches = [items[start : start + batch_size] for start in range(0, length, batch_size)]
    found = [share[start : start + batch_size] for share in shares for start in range(0, len(share), batch_size)]
    assert sorted(found) == batches
