"""A coverage-guided fuzzer's targets: manifests, banks and embeddings, behind their seals too.

    python scripts/torture_figures/fuzz_readers.py ours|naive FOLDER -max_total_time=60 [-seed=1]

The words after the second are libFuzzer's. The folder is to work in; in its counts.json stands how
far inputs came. Of an input the first byte chooses the kind, the second whether the rest are the
file's own bytes, or say what is edited in a whole one, which then keeps its seal or is sealed anew.
Run by r16_atheris.py.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["centre_builders"]):
    from centre_builders.artefact import MANIFEST, verify_folder, write_folder
    from centre_builders.bank import CentreBank
    from centre_builders.building import build_bank
    from centre_builders.embedded import COMPLETE, complete, read_embedded, write_part
    from centre_builders.errors import InputError
    from centre_builders.items import make_items
    from centre_builders.json_files import SEAL as KEY
    from centre_builders.json_files import sealed
    from centre_builders.one_hot import OneHot
    from centre_builders.sealed import BLANK, SEAL

import numpy as np

from torture_figures.fuzz_edits import edited

FOLDER = Path(sys.argv[2])
LISTED, BANK, DONE = f"folder/{MANIFEST}", "bank.safetensors", "part-00000.done"
BY_SEAL = ("that it carries", "it was sealed with")  # what a wrong seal is told by
EVERY = 200  # inputs from one writing of the counts to the next
Read = Callable[[], object]


def main(which: str, *words: str) -> None:
    """Fuzz until libFuzzer ends the process."""
    _make_examples()
    counts, examples = Counter[str](), {name: _read_tree(name) for name in READERS}

    def count(name: str, how: str) -> None:
        counts[f"{name}: {how}"] += 1
        if counts.total() % EVERY == 1:
            (FOLDER / "counts.json").write_text(json.dumps(counts))

    def ours(content: bytes) -> None:
        name = list(READERS)[content[0] % len(READERS) if content else 0]
        whole = (FOLDER / name).read_bytes()
        (FOLDER / name).write_bytes(_changed(name, examples[name], content[1:]))
        try:
            READERS[name]()
            count(name, "accepted")
        except InputError as error:
            at_seal = any(words in str(error) for words in BY_SEAL)
            count(name, "refused by its seal" if at_seal else "refused")
        finally:
            (FOLDER / name).write_bytes(whole)

    def naive(content: bytes) -> None:
        tree = edited(examples[LISTED], atheris.FuzzedDataProvider(content))
        try:
            _read_naively(json.dumps(tree))
            count("naive", "accepted")
        except (ValueError, KeyError):
            count("naive", "refused")

    atheris.Setup([sys.argv[0], *words, str(_corpus())], ours if which == "ours" else naive)
    atheris.Fuzz()


def _read_tree(name: str) -> Any:  # noqa: ANN401
    """Return the JSON of a file; of a bank its header, with what is JSON within."""
    content = (FOLDER / name).read_bytes()
    if name != BANK:
        return json.loads(content)
    tree = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    tree["__metadata__"]["bank"] = json.loads(tree["__metadata__"]["bank"])
    return tree


def _changed(name: str, tree: Any, content: bytes) -> bytes:  # noqa: ANN401
    """Return the bytes of a file: the fuzzer's own, or of an edited tree with or without a seal."""
    how, rest = content[:1], content[1:]
    if how < b"\x40":  # of a bank what follows the seal, or nothing would pass the first check
        return _sealed(b'{"__metadata__":{' + SEAL + BLANK + b'",' + rest) if name == BANK else rest
    tree, anew = edited(tree, atheris.FuzzedDataProvider(rest)), how >= b"\x80"
    if name == BANK:
        return _bank_bytes(tree, anew=anew)
    if anew and isinstance(tree, dict):
        tree = sealed({key: value for key, value in tree.items() if key != KEY})
    return json.dumps(tree).encode()


def _bank_bytes(tree: Any, *, anew: bool) -> bytes:  # noqa: ANN401
    metadata = tree.get("__metadata__") if isinstance(tree, dict) else None
    if isinstance(metadata, dict):
        if anew:
            metadata["fingerprint"] = BLANK.decode()
        if isinstance(metadata.get("bank"), dict | list):
            metadata["bank"] = json.dumps(metadata["bank"])
    return _sealed(json.dumps(tree, separators=(",", ":")).encode())


def _sealed(header: bytes) -> bytes:
    """Return a bank's file of this header, its blank seal filled in."""
    content = (FOLDER / BANK).read_bytes()
    header += b" " * (-len(header) % 8)
    whole = len(header).to_bytes(8, "little") + header
    whole += content[8 + int.from_bytes(content[:8], "little") :]
    return whole.replace(SEAL + BLANK, SEAL + sha256(whole).hexdigest().encode(), 1)


def _corpus() -> Path:
    """Write what the fuzzer begins with: of each kind a whole file, sealed anew or as it was."""
    corpus = FOLDER / "corpus"
    corpus.mkdir()
    for number in range(len(READERS)):
        for how in (0, 0x40, 0x80):
            (corpus / f"{number}-{how}").write_bytes(bytes([number, how]))
    return corpus


def _read_naively(text: str) -> int:
    """Read a manifest as is common: what is no JSON and what lacks a key is refused."""
    return sum(int(one["size"]) for one in json.loads(text)["files"].values())


def _make_examples() -> None:
    """Write one whole file of each kind."""
    with write_folder(FOLDER / "folder", about={"step": 1}) as folder:
        (folder / "a").write_bytes(b"a")
    rows, items = np.eye(2, dtype=np.float32), make_items(np.arange(2), ["a", None], ["b", None])
    about = {"model": "m", "rows": 2, "mark": "x", "faults": []}
    write_part(FOLDER, 0, rows, items, about)
    complete(FOLDER, {"model": "m"}, 1)
    build_bank(OneHot(), ["a", "b", "c"], remove_mean=True).save(FOLDER / BANK)


def _read_bank() -> None:
    bank = CentreBank.load(FOLDER / BANK)
    assert len(bank.texts) == len(bank.names) == len(bank.vectors)
    assert bank.fingerprint


READERS: dict[str, Read] = {
    LISTED: lambda: verify_folder(FOLDER / "folder"),
    COMPLETE: lambda: read_embedded(FOLDER),
    DONE: lambda: read_embedded(FOLDER),
    BANK: _read_bank,
}


if __name__ == "__main__":
    main(sys.argv[1], *sys.argv[3:])
