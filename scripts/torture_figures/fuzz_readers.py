"""A coverage-guided fuzzer's target: manifests, banks and parts of embeddings of any bytes.

    python scripts/torture_figures/fuzz_readers.py ours|naive -max_total_time=60 [-seed=1]

The words after the first are libFuzzer's. Run by r16_atheris.py; needs atheris.
"""

import json
import sys
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp

import atheris

with atheris.instrument_imports(include=["centre_builders"]):
    from centre_builders.artefact import MANIFEST, read_manifest, verify_folder
    from centre_builders.bank import CentreBank
    from centre_builders.embedded import COMPLETE, read_embedded
    from centre_builders.errors import InputError
    from centre_builders.sealed import BLANK, SEAL

FOLDER = Path(mkdtemp(prefix="torture-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))


def ours(content: bytes) -> None:
    """Give the bytes to the reader that the first of them chooses; what it refuses is well."""
    kind, body = content[:1], content[1:]
    try:
        if kind < b"\x40":
            (FOLDER / MANIFEST).write_bytes(body)
            read_manifest(FOLDER)
            verify_folder(FOLDER)
        elif kind < b"\x80":
            (FOLDER / COMPLETE).write_bytes(body)
            (FOLDER / "part-00000.done").write_bytes(body)
            read_embedded(FOLDER)
        else:
            CentreBank.load(_sealed(body))
    except InputError:
        pass


def naive(content: bytes) -> None:
    """Read a manifest as is common, without a thought of its keys."""
    json.loads(content)["files"].items()


def _sealed(body: bytes) -> Path:
    """Write a bank with a right seal around what the fuzzer says of it."""
    head = b'{"__metadata__":{' + SEAL + BLANK + b'","bank":' + body.partition(b"\0")[0]
    head += b" " * (-len(head) % 8)
    whole = len(head).to_bytes(8, "little") + head + body.partition(b"\0")[2]
    seal = sha256(whole).hexdigest().encode()
    path = FOLDER / "bank.safetensors"
    path.write_bytes(whole.replace(SEAL + BLANK, SEAL + seal, 1))
    return path


def _examples() -> Path:
    """Write what the fuzzer begins with: one whole file of each kind."""
    corpus = FOLDER / "corpus"
    corpus.mkdir()
    bank = {"names": ["a", "b"], "provenance": {"texts": {}, "builder": {}}, "conditioning": []}
    vectors = bytes.fromhex("0000803f0000000000000000" + "0000803f")
    tensor = '{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}'
    text = json.dumps(json.dumps(bank)) + '},"centres":' + tensor + "}"
    (corpus / "bank").write_bytes(b"\xff" + text.encode() + b"\0" + vectors)
    manifest = {"schema": 1, "about": {"step": 1}, "files": {"a": {"sha256": "0", "size": 1}}}
    (corpus / "manifest").write_bytes(b"\x00" + json.dumps(manifest).encode())
    embedded = {"about": {"model": "m", "rows": 1}, "parts": 1, "rows": 1, "files": {}}
    (corpus / "embedded").write_bytes(b"\x50" + json.dumps(embedded).encode())
    return corpus


if __name__ == "__main__":
    target = ours if sys.argv.pop(1) == "ours" else naive
    atheris.Setup([*sys.argv, str(_examples())], target)
    atheris.Fuzz()
