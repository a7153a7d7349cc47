"""Models on the Hugging Face hub: fetch a snapshot, push a folder. Nothing fetched is run."""

import re
from pathlib import Path

from centre_builders.artefact import verify_folder
from centre_builders.errors import InputError

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?", re.ASCII)
# No pickle, no code.
FETCHED = ["*.safetensors", "*.json", "*.yaml", "README.md"]
PUSHED = [*FETCHED, "report/*.png"]


def locate(model: str | Path) -> Path:
    """Return the folder of a model: one that is here, or a snapshot of a repository of the hub.

    Args:
        model: a folder, or `org/name`, or `org/name@revision` to fix which version. Where there is
            a folder `org` here, it is taken for that. HF_HUB_OFFLINE=1 takes what was fetched
            before.

    Raises:
        InputError: it is neither a folder nor a repository that can be had.
    """
    place = Path(model).expanduser()
    # A slip in runs/mine must not become a question to the hub, nor a stranger's model.
    if place.parent.is_dir() or not REPOSITORY.fullmatch(str(model)):
        return place
    from huggingface_hub import snapshot_download

    name, _, revision = str(model).partition("@")
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=FETCHED))
    except faults() as error:
        raise InputError(
            f"{model} is no folder here, and the hub gives no such model ({_reason(error)}); train"
            " into it, or fetch it once where there is a connection"
        ) from error


def push_to_hub(folder: str | Path, repository: str, *, private: bool = True) -> str:
    """Upload a folder that `export format=safetensors` wrote, and return its address.

    Args:
        folder: of the bundle.
        repository: `org/name`; made where it is not there.
        private: whether a new one is seen by its owners alone.

    Raises:
        InputError: the folder is no such bundle or is damaged, or the hub cannot be reached or
            refuses.
    """
    from huggingface_hub import HfApi

    if verify_folder(folder)["about"].get("format") != "safetensors":
        raise InputError(f"{folder} is no bundle of format=safetensors, which the hub can load")
    api = HfApi(library_name="semcentres")
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        done = api.upload_folder(repo_id=repository, folder_path=folder, allow_patterns=PUSHED)
    except faults() as error:
        raise InputError(
            f"{folder} is whole but was not pushed to {repository} ({_reason(error)}); log in by"
            " `hf auth login` where there is a connection, and push again"
        ) from error
    return str(done.commit_url)


def faults() -> tuple[type[Exception], ...]:
    """Return what the hub's clients raise where they cannot reach it, are refused, or get half."""
    from huggingface_hub import errors

    # HTTPError is that of httpx or of httpx2, by the client's version; not all of it is OSError.
    return OSError, RuntimeError, errors.HTTPError, errors.HFValidationError  # type: ignore[attr-defined]


def _reason(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
