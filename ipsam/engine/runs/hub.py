"""Models on the Hugging Face Hub."""

from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

from ipsam.engine.runs.checkpoint import WEIGHTS

ABOUT, CARD = "config.json", "README.md"

FILES = (ABOUT, WEIGHTS, CARD)


def fetch(repo_id: str, *, revision: str | None = None) -> Path:
    """The folder of a model on the Hub, fetched once and kept in the Hub's own cache; no code of it is ever run.

    Raises:
        FileNotFoundError: there is no such model, or the Hub can't be reached and the model was never fetched.
        ValueError: what is there is no model of ipsam's.
    """
    try:
        folder = Path(snapshot_download(repo_id, revision=revision, allow_patterns=list(FILES)))
    except HFValidationError as error:
        raise FileNotFoundError(f"no model {repo_id} on the Hugging Face Hub: {_first_line(error)}") from error
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"no model {repo_id} on the Hugging Face Hub: there is none of this id, or it is private and you are not "
            "logged in (hf auth login)"
        ) from error
    except Exception as error:  # of the Hub's client, and of whatever library it speaks HTTP by
        raise FileNotFoundError(
            f"the model {repo_id} could not be fetched from the Hugging Face Hub: {_first_line(error)}"
        ) from error
    if missing := [name for name in (ABOUT, WEIGHTS) if not (folder / name).is_file()]:
        raise ValueError(f"{repo_id} on the Hub is no model of ipsam's: it has no {' and no '.join(missing)}")
    return folder


def push(folder: Path, repo_id: str, *, private: bool = False, message: str = "Upload by ipsam") -> str:
    """Upload a folder written by ``save_pretrained``; makes the repository if there is none.

    Returns:
        The address of the commit.

    Raises:
        OSError: the Hub refused it, or can't be reached.
    """
    api = HfApi()
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id, folder_path=folder, allow_patterns=list(FILES), commit_message=message
        )
    except Exception as error:  # as above
        raise OSError(f"{repo_id} could not be written on the Hugging Face Hub: {_first_line(error)}") from error
    return str(commit.commit_url)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
