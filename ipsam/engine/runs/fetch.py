"""Downloads: checked by sha256, resumed where a connection broke, made by one process for all that need the file."""

import logging
import os
import re
import time
from pathlib import Path

import requests
from tqdm import tqdm

from ipsam.model.sam2_checkpoints import OFFICIAL_FILES
from ipsam.utils.files import write_text
from ipsam.utils.folders import cache_folder
from ipsam.utils.lock import hold
from ipsam.utils.resources import CHECKPOINTS
from ipsam.utils.weights import sha256_of

CHUNK = 1 << 16  # bytes; an unfinished chunk is lost when the connection breaks
TIMEOUT = 30  # seconds without a byte
TRIES = 5  # connections
BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)

logger = logging.getLogger(__name__)


def find_base(wanted: str | Path, *, download: bool = True) -> Path:
    """Find the pretrained weights that a model names, and download them to the cache if necessary.

    Args:
        wanted: the file. If it is missing and it has the name of an official SAM2 file, ``checkpoints/`` and the
            cache are searched for it.
        download: download an official file that is found nowhere.

    Raises:
        ValueError, OSError: as ``fetch`` raises them.
    """
    path = Path(wanted).expanduser()
    if path.exists() or path.name not in OFFICIAL_FILES:
        return path
    for folder in (Path("checkpoints"), CHECKPOINTS, cache_folder()):
        if (folder / path.name).is_file():
            return folder / path.name
    return fetch_sam2(path.name, cache_folder()) if download else path


def fetch_sam2(name: str, folder: Path) -> Path:
    """Download one of SAM2's official files, see ``fetch``."""
    official = OFFICIAL_FILES[name]
    return fetch(official.url, folder / name, sha256=official.sha256)


def fetch(url: str, target: Path, *, sha256: str | None = None) -> Path:
    """Download a file, unless it exists.

    The download goes to a hidden file beside ``target`` and is renamed once it is complete and checked. A broken
    connection is resumed, by this call or a later one, unless the server's file may have changed.

    Args:
        sha256: expected digest; None accepts any content.

    Raises:
        ValueError: the digest is another.
        OSError: the file cannot be downloaded or written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    with hold(target.with_name(f".{target.name}.lock"), wait=True):
        if target.is_file() and _matches(target, sha256):
            return target
        try:
            _download(url, part, is_checked=sha256 is not None)
        except requests.RequestException as error:
            raise OSError(f"{url} can't be fetched: {_reason(error)}. The part so far is kept: try again") from error
        except OSError as error:  # of writing, which has no path
            raise OSError(error.errno, error.strerror, str(target)) from error
        _version(part).unlink(missing_ok=True)
        if not _matches(part, sha256):
            part.unlink()
            raise ValueError(
                f"{url} is not the expected file: its sha256 is not {sha256}. The download was deleted; if this "
                f"happens again, fetch the file by other means, to {target}"
            )
        os.replace(part, target)
    return target


def _matches(path: Path, sha256: str | None) -> bool:
    return sha256 is None or sha256_of(path) == sha256


def _version(part: Path) -> Path:
    """Return the file that holds what the server calls the version of a partial download."""
    return part.with_suffix(".version")


def _download(url: str, part: Path, *, is_checked: bool) -> None:
    for attempt in range(1, TRIES + 1):
        try:
            _append(url, part, is_checked=is_checked)
            return
        except BROKEN as error:
            if attempt == TRIES:
                raise
            logger.warning("%s: the connection broke (%s); resuming", url, _reason(error))
            time.sleep(0.25 * 2**attempt)


def _append(url: str, part: Path, *, is_checked: bool) -> None:
    """Append the missing rest to a file; start over if the server cannot send only the rest, or has another version.

    Args:
        is_checked: the digest of the whole is known, so that the rest of an unknown version may be tried.
    """
    version = _version(part).read_text() if _version(part).exists() else ""
    have = part.stat().st_size if part.exists() and (version or is_checked) else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    headers |= {"If-Range": version} if have and version else {}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        status, sent = answer.status_code, answer.headers.get("Content-Range", "")
        if status == requests.codes.requested_range_not_satisfiable and (is_checked or sent == f"bytes */{have}"):
            return  # the file is complete
        is_rest, current = status == requests.codes.partial_content, _version_of(answer)
        if status == requests.codes.requested_range_not_satisfiable or (
            is_rest and ((sent and not sent.startswith(f"bytes {have}-")) or (version and current not in ("", version)))
        ):
            part.unlink()
            raise requests.ConnectionError("the server has another file now")
        answer.raise_for_status()
        if not is_rest:
            have = 0
            part.unlink(missing_ok=True)  # the old content must never stand under the new version
            _version(part).unlink(missing_ok=True)
            if current:
                write_text(_version(part), current)
        length = answer.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        bar = tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.name[1:-5], disable=None)
        with part.open("ab" if have else "wb") as file, bar:
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            if total is not None and file.tell() < total:
                raise requests.ConnectionError(f"only {file.tell():,} of {total:,} bytes came")


def _version_of(answer: requests.Response) -> str:
    """Return a server's name for the version of a file; empty if it has none."""
    tag = answer.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified", "")  # W: weak


def _reason(error: Exception) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return f"no answer within {TIMEOUT} s"
    if found := re.search(r"\[Errno -?\d+\] ([\w ]+)", str(error)):
        return found[1]
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
