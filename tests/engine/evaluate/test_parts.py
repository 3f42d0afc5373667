"""Scores of shards wait for each other, and are never united with those of other work."""

import json
from pathlib import Path

import pytest
from support.saved_maps import scored

from ipsam.engine.evaluate.parts import Parts, ShardsMissingError
from ipsam.engine.evaluate.scores import Scored
from ipsam.utils.shards import Shard

NAMES = [f"image{number}" for number in range(7)]


def share(shard: Shard, batch_size: int = 1) -> Scored:
    images = scored({name: {"sm": number / 7, "mae": float("nan")} for number, name in enumerate(NAMES)})
    own = scored({name: images[NAMES.index(name)] for name in shard.of(NAMES, batch_size)})  # type: ignore[arg-type]
    own.remarks["odd"] = 2
    return own


@pytest.mark.parametrize(("count", "batch_size"), [(1, 1), (2, 3), (3, 1), (3, 2), (9, 1)])
def test_shares_unite_in_the_order_of_the_whole(count: int, batch_size: int) -> None:
    shards = [Shard(index, count) for index in range(count)]
    assert sorted(name for shard in shards for name in shard.of(NAMES, batch_size)) == NAMES
    whole = Scored.united([share(shard, batch_size) for shard in shards], batch_size)
    assert (whole.names, list(whole.of("sm"))) == (NAMES, [number / 7 for number in range(7)])
    assert whole.curves.digits() == share(Shard()).curves.digits()
    assert whole.remarks == {"odd": 2 * count}


def test_the_last_shard_unites_and_may_run_again(tmp_path: Path) -> None:
    first, second, third = (Shard(index, 3) for index in range(3))

    def run(shard: Shard, **work: str) -> Scored:
        return Parts.of(tmp_path, shard, **work).exchange({"set": share(shard)})["set"]

    with pytest.raises(ShardsMissingError, match=r"^shard 2/3 is scored: .*2of3\.json.*without scores: 1/3, 3/3$"):
        run(second, model="a")
    with pytest.raises(ShardsMissingError, match=r"without scores: 1/3, 2/3 \(of another model, other images or o"):
        run(third, model="b")
    with pytest.raises(ShardsMissingError, match=r"without scores: 1/3$"):
        run(second, model="b")
    for shard in (first, second):
        assert run(shard, model="b").names == NAMES
    part = tmp_path / "shards/3of3.json"
    content = json.loads(part.read_text())
    no_set = json.dumps(content | {"sets": {}})
    for damaged in ("", "[]", no_set, json.dumps(content | {"sets": {"set": {"names": ["a"], "values": []}}})):
        part.write_text(damaged)
        with pytest.raises(ValueError, match=r"3of3\.json: no scores of a shard; remove it and run shard=3/3 again"):
            run(first, model="b")
