from pathlib import Path

import pytest

from ipsam.cli.errors import user_errors


def test_what_the_system_refuses_is_told_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as end, user_errors():
        (tmp_path / "none" / "a.txt").read_text()
    path = tmp_path / "none" / "a.txt"
    assert str(end.value).startswith(f"error: {path}: No such file or directory; check the path, and your right to")


def test_messages_of_our_own_stay_as_they_are() -> None:
    with pytest.raises(SystemExit, match=r"^error: maps=none: no such folder; check the path\n"), user_errors():
        raise FileNotFoundError("maps=none: no such folder; check the path")
