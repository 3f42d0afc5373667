"""Models on the Hugging Face Hub."""

from pathlib import Path

from ipsam.engine.runs.checkpoint import ADAPTER, ADAPTER_WEIGHTS, WEIGHTS
from ipsam.utils.weights import sha256_of

DESCRIPTION, CARD = "config.json", "README.md"
FILES = (DESCRIPTION, WEIGHTS, CARD, ADAPTER, ADAPTER_WEIGHTS)  # of a shared model


def download_model(repo_id: str, *, revision: str | None = None, sha256: str | None = None) -> Path:
    """Return the folder of a model on the Hub, downloaded once to the Hub's own cache; none of its code is run.

    Args:
        repo_id: such as ``name/model``.
        revision: commit, branch or tag; None for the newest.
        sha256: expected digest of the weights; None accepts any.

    Raises:
        FileNotFoundError: the model does not exist, or the Hub cannot be reached and the model is not in the cache.
        ValueError: the repository holds no ipsam model, or one with other weights.
    """
    from huggingface_hub import snapshot_download  # imported late: it takes a while
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        folder = Path(snapshot_download(repo_id, revision=revision, allow_patterns=list(FILES)))
    except HFValidationError as error:
        raise FileNotFoundError(f"no model {repo_id} on the Hugging Face Hub: {_first_line(error)}") from error
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"no model {repo_id} on the Hugging Face Hub: the id does not exist, or it is private and you are not "
            "logged in (hf auth login)"
        ) from error
    except Exception as error:  # from the client or its HTTP library
        raise FileNotFoundError(
            f"the model {repo_id} could not be fetched from the Hugging Face Hub: {_first_line(error)}"
        ) from error
    if missing := [name for name in (DESCRIPTION, WEIGHTS) if not (folder / name).is_file()]:
        raise ValueError(f"{repo_id} on the Hub is not an ipsam model: it has no {' and no '.join(missing)}")
    if sha256 is not None and (found := sha256_of(folder / WEIGHTS)) != sha256:
        raise ValueError(
            f"{folder / WEIGHTS}, downloaded from {repo_id}, is not the expected file: its sha256 is {found}, not "
            f"{sha256}; delete it, and it will be downloaded again"
        )
    return folder


def upload_model(folder: Path, repo_id: str, *, private: bool = False) -> str:
    """Upload a folder written by ``save_pretrained``, to a new repository if necessary; return the commit's address.

    Raises:
        OSError: the Hub refused it, or cannot be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id, folder_path=folder, allow_patterns=list(FILES), commit_message="Upload by ipsam"
        )
    except Exception as error:  # as above
        raise OSError(f"{repo_id} could not be written on the Hugging Face Hub: {_first_line(error)}") from error
    return str(commit.commit_url)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
