"""What a run folder holds, how it is written, and where a run resumes.

runs/a/
  config.yaml            the composed configuration
  centres.safetensors    the bank of centres
  split.json             which images are for what, and a hash of each
  checkpoints/step-…/    state to resume from, whole or absent, the newest two
  model.safetensors      weights for inference, with all that is needed to load them
  metrics.jsonl          one record a logged step; the same in tensorboard/
  metrics.json           the results
  index/                 FAISS index of the training images' embeddings
  README.md              model card
  report/                pictures
"""

import errno
import fcntl
import json
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from centre_builders.artefact import (
    MANIFEST,
    discard,
    sweep,
    verify_folder,
    write_file,
    write_folder,
    write_json,
)
from centre_builders.disk import sync, writing
from centre_builders.errors import CorruptArtefact, InputError, UsageError, refused_unless
from centre_builders.json_files import sealed

log = logging.getLogger(__name__)

STATE = "state.pt"

Record = dict[str, Any]  # step and numbers; a list of numbers goes to metrics.jsonl alone
Results = dict[str, Any]  # what metrics.json holds


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run and the rules by which they are written."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def report(self) -> Path:
        """Folder of the pictures."""
        return self.path / "report"

    @property
    def records_file(self) -> Path:
        """File of the records."""
        return self.path / "metrics.jsonl"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder against a second process.

        Raises:
            UsageError: another process is training into it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as file:
            with writing(self.path / ".lock"):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise UsageError(
                        f"{self.path} is in use by another process; wait for it or set run_dir"
                    ) from error
            for folder in (self.path, self.checkpoints, self.report):
                sweep(folder, locked=True)
            yield

    def save_checkpoint(
        self, state: Mapping[str, Any], *, step: int, about: dict[str, Any]
    ) -> Path:
        """Write a checkpoint whole, then remove all but the newest two."""
        target = self.checkpoints / f"step-{step:08d}"
        if self.records_file.exists():
            with writing(self.records_file):
                sync(self.records_file)  # a resumed run begins with the records up to here
        need = sum(tensor.nbytes for _, tensor in tensors_of(state))
        with (
            write_folder(target, about={"step": step, **about}, need=need) as folder,
            # By a file of Python's: torch's own writer does not say that the disk is full.
            (folder / STATE).open("wb") as file,
        ):
            torch.save(dict(state), file)
        for old in self.steps()[:-2]:
            discard(old)
        return target

    def steps(self) -> list[Path]:
        """Return the checkpoint folders, oldest first."""
        # Not by a pattern, which finds nothing in a folder that may not be read.
        names = os.listdir(self.checkpoints) if self.checkpoints.exists() else []
        return [self.checkpoints / name for name in sorted(names) if name.startswith("step-")]

    def newest_checkpoint(
        self, about: Mapping[str, Any], force: Collection[str] = ()
    ) -> tuple[int, dict[str, Any]] | None:
        """Return step and state of the newest whole checkpoint, None where there is none.

        A damaged checkpoint is named and the one before it is taken.

        Args:
            about: what the checkpoint must have been made with (bank, data).
            force: of these, what may differ all the same.

        Raises:
            CorruptArtefact: there are checkpoints and all are damaged.
            InputError: the checkpoint was made with something else; the differences are listed.
        """
        folders = self.steps()
        for folder in reversed(folders):
            try:
                made_with = verify_folder(folder)["about"]
                with refused_unless(folder / MANIFEST, "a checkpoint's manifest"):
                    step = int(made_with["step"])
                state = _read_state(folder / STATE)
            except CorruptArtefact as error:
                log.warning("%s; taking the checkpoint before it", error)
                continue
            _compare(folder, made_with, about, force)
            return step, state
        if folders:
            raise CorruptArtefact(
                f"all of {self.checkpoints} is damaged; set restart=true to begin again"
            )
        return None

    def clear(self) -> None:
        """Remove what an earlier run left, so that this one begins at step 0."""
        for name in ("checkpoints", "report", "index", "tensorboard"):
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in (
            "metrics.jsonl",
            "metrics.json",
            "model.safetensors",
            "README.md",
            "split.json",
        ):
            (self.path / name).unlink(missing_ok=True)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file whole, with its hash."""
        write_json(self.path / name, sealed(content))

    def records(self) -> list[Record]:
        """Return what metrics.jsonl holds, up to a line that a kill or a power cut spoilt."""
        path, found = self.records_file, []
        for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
            try:
                record = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                record = None
            if not isinstance(record, dict) or "step" not in record:
                break
            found.append(record)
        return found

    @contextmanager
    def logbook(self, step: int, *, write: bool = True) -> Iterator[Callable[[Record], None]]:
        """Give a function that appends a record to metrics.jsonl and to TensorBoard.

        Records after `step` are dropped first: a resumed run writes them again. Without `write`
        the function does nothing, for all processes of a training but the first.
        """
        if not write:
            yield lambda record: None
            return
        from torch.utils.tensorboard import SummaryWriter

        kept = [json.dumps(record) + "\n" for record in self.records() if record["step"] <= step]
        write_file(self.records_file, "".join(kept).encode())
        with writing(self.path / "tensorboard"):
            board = SummaryWriter(str(self.path / "tensorboard"), purge_step=step + 1)
        try:
            with self.records_file.open("ab", buffering=0) as file:

                def append(record: Record) -> None:
                    line = (json.dumps(record) + "\n").encode()
                    with writing(self.records_file, len(line)):
                        if file.write(line) < len(line):
                            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                        for name, value in record.items():
                            if name != "step" and not isinstance(value, list):
                                board.add_scalar(name, value, record["step"])

                yield append
        finally:
            with suppress(OSError):  # what it cannot write is in metrics.jsonl
                board.close()


def _read_state(path: Path) -> dict[str, Any]:
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch's unpickler has many kinds
        raise CorruptArtefact(f"{path} cannot be read ({error})") from error


def _compare(
    folder: Path, made_with: Mapping[str, Any], wanted: Mapping[str, Any], force: Collection[str]
) -> None:
    different = {
        key: f"{key}: {made_with.get(key)!r} there, {wanted[key]!r} now"
        for key in wanted
        if made_with.get(key) != wanted[key]
    }
    for key in different.keys() & set(force):
        log.warning("%s was made with another %s (forced)", folder, different.pop(key))
    if different:
        raise InputError(
            f"{folder} was made with other settings ({'; '.join(different.values())});"
            " choose another run_dir, or set restart=true to begin again, or"
            f" force=[{','.join(different)}] to go on all the same"
        )


def tensors_of(state: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:  # noqa: ANN401
    """Yield the tensors of a nested state with their names."""
    if isinstance(state, Tensor):
        yield name, state
    elif isinstance(state, Mapping | list | tuple):
        parts = state.items() if isinstance(state, Mapping) else enumerate(state)
        for key, part in parts:
            yield from tensors_of(part, f"{name}.{key}" if name else str(key))
