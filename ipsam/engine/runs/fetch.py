"""Fetching files: whole, checked, and going on where a dropped connection left off."""

import logging
import os
import re
import time
from pathlib import Path
from typing import Any

import pooch
import requests
from tqdm import tqdm

from ipsam.model.sam2_checkpoints import OFFICIAL_FILES
from ipsam.utils.lock import hold

CHUNK = 1 << 16  # bytes; what is left of one when the connection breaks is lost
TIMEOUT = 30  # seconds without a byte
TRIES = 5  # connections, before it is given up

logger = logging.getLogger(__name__)


def fetch_sam2(name: str, folder: Path) -> Path:
    """One of SAM 2.1's official files, see ``fetch``."""
    official = OFFICIAL_FILES[name]
    return fetch(official.url, folder / name, sha256=official.sha256)


def fetch(url: str, target: Path, *, sha256: str | None = None) -> Path:
    """A file from the web, unless it is there already.

    It is written beside its place and moved there when it is whole, so that the place never holds half a file. A
    connection that drops is taken up where it broke off, in this call or a later one. Other processes that
    need the same file wait for the first.

    Args:
        url: of the file.
        target: its place.
        sha256: that it must have; None takes what comes.

    Raises:
        ValueError: what came is another file.
        OSError: it can't be fetched, or written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel(logging.WARNING)  # it would tell of what is told here
    try:
        with hold(target.with_name(f".{target.name}.lock"), wait=True):
            found = pooch.retrieve(
                url,
                known_hash=None if sha256 is None else f"sha256:{sha256}",
                fname=target.name,
                path=target.parent,
                downloader=_resuming(target.with_name(f".{target.name}.part")),
            )
    except requests.RequestException as error:
        raise OSError(f"{url} can't be fetched: {_reason(error)}. What came so far is kept: try again") from error
    except ValueError as error:
        if sha256 is None:
            raise
        raise ValueError(
            f"what came from {url} is not the file: its sha256 is not {sha256}. It was thrown away; if this happens "
            f"again, fetch the file by other means, to {target}"
        ) from error
    return Path(found)


def _resuming(part: Path) -> Any:
    """A downloader as pooch calls it, that keeps what came in ``part`` until it is whole."""

    def download(url: str, output: str, _: object) -> None:
        for attempt in range(TRIES):
            try:
                _go_on(url, part)
                break
            except (requests.ConnectionError, requests.Timeout) as error:
                if attempt == TRIES - 1:
                    raise
                logger.warning("%s: the connection broke (%s); going on", url, _reason(error))
                time.sleep(0.5 * 2**attempt)
        os.replace(part, output)

    return download


def _go_on(url: str, part: Path) -> None:
    """Add what is missing to a file; from the beginning, where the server can't give only that.

    Raises:
        requests.RequestException: the server says no, or the connection broke.
    """
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-", "Accept-Encoding": "identity"} if have else {"Accept-Encoding": "identity"}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:  # it is all there
            return
        answer.raise_for_status()
        if answer.status_code != requests.codes.partial_content:
            have = 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.name[1:-5], disable=None)
        with part.open("ab" if have else "wb") as file, bar:
            try:
                for chunk in answer.iter_content(CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
            except requests.exceptions.ChunkedEncodingError as error:
                raise requests.ConnectionError(error) from error
            if total is not None and file.tell() < total:
                raise requests.ConnectionError(f"only {file.tell():,} of {total:,} bytes came")


def _reason(error: Exception) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "it took too long"
    if found := re.search(r"\[Errno -?\d+\] ([\w ]+)", str(error)):
        return found[1]
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
