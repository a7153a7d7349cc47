"""R3: what a power cut leaves, replayed from the calls to the disk that each writer makes.

The calls are noted as they reach the C library. A trial cuts the power after one of them and keeps
only what POSIX promises: bytes of a file up to its last fsync (the rest reads as zeros), names of a
folder up to its last fsync, and of the later ones a random number, in order. Then the folder is
swept and read as by the next run: the old version or the new one, and after the last call the new
one. The naive way writes beside the target and renames, without fsync.
"""

import os
import random
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from torture_figures.disk_faults import arm, disarm, noted, run_with_faults
from torture_figures.forking import Child
from torture_figures.r2_failpoints import swept
from torture_figures.writers import LARGE, NAIVE, WRITERS, Writer, allowed


def run(trials: int, seed: int) -> dict[str, Any]:
    """Cut the power so many times, for every writer."""
    found = run_with_faults(__name__, trials, seed)
    cuts, faults = len(WRITERS) * trials, found["faults"]
    return {
        "goal": f"0 of {cuts} corrupt or lost",
        "measured": {"spoilt": f"{len(faults)}/{cuts}", "faults": faults[:3]},
        "naive": f"rename without fsync: {found['naive']} of {trials} spoilt",
        "passed": not faults and found["naive"] > 0,
    }


def main(trials: int, seed: int) -> dict[str, Any]:
    """Do it in the process that the faults are loaded into."""
    faults = []
    for name, writer in WRITERS.items():
        faults += [f"{name}, {fault}" for fault in _cut(writer, trials, random.Random(seed))]
    naive = Writer(_rename_unsynced, NAIVE.read, (1,))
    return {"faults": faults, "naive": len(_cut(naive, trials, random.Random(seed)))}


@dataclass(eq=False)
class Node:
    """A file or folder of the replay.

    Args:
        names: of a folder, as the processes see them; None for a file.
        kept: of a folder, as the disk has them.
        pending: changes of names that are not on the disk yet, in order; None removes one.
        content: of a file.
        synced: bytes of it that are on the disk.
    """

    names: "dict[str, Node] | None" = None
    kept: "dict[str, Node]" = field(default_factory=dict)
    pending: "list[dict[str, Node | None]]" = field(default_factory=list)
    content: bytes = b""
    synced: int = 0

    def change(self, **names: "Node | None") -> None:
        """Give names of a folder to other nodes."""
        assert self.names is not None
        self.pending.append(names)
        self.names = _changed(self.names, names)


def _changed(names: dict[str, Node], change: dict[str, Node | None]) -> dict[str, Node]:
    both = {**names, **change}
    return {name: node for name, node in both.items() if node is not None}


def _cut(writer: Writer, trials: int, draw: random.Random) -> list[str]:
    """Return what was wrong, and after which call."""
    faults = []
    writer.begin()
    with tempfile.TemporaryDirectory() as place:
        folder, before, left = (Path(place) / name for name in ("folder", "before", "left"))
        folder.mkdir()
        for version in writer.before:
            writer.write(folder, version)
        new = max(writer.before, default=0) + 1
        shutil.copytree(folder, before)
        calls = _note(writer, folder, new, Path(place) / "journal")
        for trial in range(trials):
            # Every fourth is after all calls: what was acknowledged must be there.
            end = draw.randrange(len(calls)) if trial % 4 else len(calls)
            root = _read_tree(before)
            for what, *words in calls[:end]:
                _replay(root, what, [os.path.relpath(word, folder) for word in words[:-1]], words)
            shutil.rmtree(left, ignore_errors=True)
            _lay_down(root, left, draw)
            wanted = {new} if end == len(calls) else allowed(writer)
            try:
                swept(left)
                if (found := writer.read(left)) not in wanted:
                    faults.append(f"cut after call {end}: version {found}, wanted of {wanted}")
            except Exception as error:  # whatever a broken artefact brings about
                faults.append(f"cut after call {end}: {type(error).__name__}: {error}")
    return faults


def _note(writer: Writer, folder: Path, new: int, path: Path) -> list[list[str]]:
    """Return the calls of a write: what, paths, size; those that write have the bytes as size."""
    journal = os.open(path, os.O_RDWR | os.O_CREAT)

    def work(_: object) -> None:
        arm(folder, journal=journal)
        writer.write(folder, new)
        disarm()

    code, told = Child(work).end()
    if code:
        raise RuntimeError(f"without a fault: exit code {code}, {told}")
    calls: list[list[str]] = []
    for what, *words in noted(journal):
        if what == "data":
            calls[-1][-1] = words[0]
        else:
            calls.append([what, *words])
    os.close(journal)
    return calls


def _read_tree(path: Path) -> Node:
    """Return what is there, all of it on the disk."""
    if path.is_file():
        content = path.read_bytes()
        return Node(content=content, synced=len(content))
    names = {below.name: _read_tree(below) for below in path.iterdir()}
    return Node(names=names, kept=dict(names))


def _find(root: Node, path: str) -> tuple[Node, str]:
    """Return the folder that holds a path, and the name in it."""
    *parents, name = Path(path).parts
    for part in parents:
        assert root.names is not None
        root = root.names[part]
    return root, name


def _replay(root: Node, what: str, paths: list[str], words: list[str]) -> None:
    """Do what a call did."""
    if paths[0] == ".":
        if what == "fsync":
            root.kept, root.pending = dict(root.names or {}), []
        return
    parent, name = _find(root, paths[0])
    node = (parent.names or {}).get(name)
    if what == "mkdir" and node is None:
        parent.change(**{name: Node(names={})})
    elif what in ("create", "touch") and node is None:
        parent.change(**{name: Node()})
    elif what in ("create", "write", "truncate", "mapped") and node is not None:
        _change(node, what, words[-1])
    elif what == "fsync" and node is not None:
        node.synced = len(node.content)
        node.kept, node.pending = dict(node.names or {}), []
    elif what == "unlink" and node is not None:
        parent.change(**{name: None})
    elif what in ("rename", "exchange") and node is not None:
        target, other = _find(root, paths[1])
        assert target is parent, "all is renamed beside itself"
        old = (parent.names or {}).get(other)
        parent.change(**{name: old if what == "exchange" else None, other: node})


def _change(node: Node, what: str, word: str) -> None:
    """Change what a file holds; the word is bytes in hexadecimal, or its new length."""
    if what == "create":
        node.content, node.synced = b"", 0
    elif what == "write":
        node.content += bytes.fromhex(word)
    elif what == "mapped":
        node.content = bytes.fromhex(word)
    else:
        size = int(word)
        node.content = node.content[:size].ljust(size, b"\0")
        node.synced = min(node.synced, size)


def _lay_down(node: Node, path: Path, draw: random.Random) -> None:
    """Write what the disk has after the power cut."""
    if node.names is None:
        lost = len(node.content) - node.synced
        path.write_bytes(node.content[: node.synced] + bytes(lost))
        return
    path.mkdir()
    names = node.kept
    for change in node.pending[: draw.randint(0, len(node.pending))]:
        names = _changed(names, change)
    for name, below in names.items():
        _lay_down(below, path / name, draw)


def _rename_unsynced(folder: Path, version: int) -> None:
    torch.save({"version": torch.full((LARGE,), float(version))}, folder / "beside.pt")
    (folder / "beside.pt").replace(folder / "last.pt")
