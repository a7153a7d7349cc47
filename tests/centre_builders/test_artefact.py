"""Artefacts are whole or absent."""

import errno
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from centre_builders import disk
from centre_builders.artefact import MANIFEST, sweep, verify_folder, write_file, write_folder
from centre_builders.errors import CorruptArtefact, DiskError, NoSpace


def write(target: Path, content: bytes = b"new") -> None:
    with write_folder(target, about={"step": 3}) as folder:
        (folder / "part").mkdir()
        (folder / "part" / "a").write_bytes(content)
        (folder / "b").write_bytes(b"b")


def test_folder_comes_back_with_its_manifest(tmp_path: Path) -> None:
    write(tmp_path / "f")
    manifest = verify_folder(tmp_path / "f")
    assert manifest["about"] == {"step": 3}
    assert manifest["files"].keys() == {"part/a", "b"}
    assert list(tmp_path.iterdir()) == [tmp_path / "f"]


def test_folder_is_replaced_whole(tmp_path: Path) -> None:
    write(tmp_path / "f", b"old")
    write(tmp_path / "f", b"new")
    assert (tmp_path / "f" / "part" / "a").read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [tmp_path / "f"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_error_leaves_the_old_one(tmp_path: Path, error: type[BaseException]) -> None:
    write(tmp_path / "f", b"old")
    with pytest.raises(error), write_folder(tmp_path / "f", about={}) as folder:
        (folder / "half").write_bytes(b"half")
        raise error
    verify_folder(tmp_path / "f")
    assert list(tmp_path.iterdir()) == [tmp_path / "f"]


def test_full_disk_is_said_and_keeps_the_old_one(tmp_path: Path) -> None:
    write_file(tmp_path / "x", b"old")
    for need, told in ((0, "4"), (5_000, "5,000")):
        with (
            pytest.raises(NoSpace, match=rf"disk full writing .*/f: at least {told} bytes needed"),
            write_folder(tmp_path / "f", about={}, need=need) as folder,
        ):
            (folder / "half").write_bytes(b"abc")
            raise OSError(errno.ENOSPC, "No space left on device")
    with (
        pytest.raises(NoSpace, match=r"/f: at least 5,003 bytes needed") as caught,
        write_folder(tmp_path / "f", about={}) as folder,
    ):
        (folder / "half").write_bytes(b"abc")
        with disk.writing(folder / "more", 5_000):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.need == 5_003
    assert os.listdir(tmp_path) == ["x"]


def replaced(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "b").write_bytes(b"c"), "b differs"),
        (lambda f: (f / "b").unlink(), "b is missing"),
        (lambda f: (f / "extra").write_bytes(b""), "extra is not in the manifest"),
        (lambda f: (f / MANIFEST).unlink(), "MANIFEST.json cannot be read"),
        (lambda f: (f / MANIFEST).write_text("{}"), "MANIFEST.json is not a manifest"),
        (lambda f: replaced(f / MANIFEST, '"step": 3', '"step": 4'), "SHA-256 that it carries"),
        (lambda f: (f / MANIFEST).write_text("[1"), "MANIFEST.json is not a manifest"),
    ],
)
def test_spoilt_folder_is_refused(tmp_path: Path, spoil, said: str) -> None:  # noqa: ANN001
    write(tmp_path / "f")
    spoil(tmp_path / "f")
    with pytest.raises(CorruptArtefact, match=said):
        verify_folder(tmp_path / "f")


@pytest.mark.parametrize("there", [False, True])
def test_order_of_disk_operations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    """Every file is forced to disk before the rename, the parent after it."""
    if there:
        write(tmp_path / "f", b"old")
    calls: list[str] = []
    fsync, rename, exchange = os.fsync, Path.replace, disk._exchange

    def noted_fsync(descriptor: int) -> None:
        calls.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def noted_rename(self: Path, target: Path) -> Path:
        calls.append("rename")
        return rename(self, target)

    def noted_exchange(first: Path, second: Path) -> bool:
        calls.append("rename")
        return exchange(first, second)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_rename)
    monkeypatch.setattr(disk, "_exchange", noted_exchange)
    write(tmp_path / "f")
    before, after = calls[: calls.index("rename")], calls[calls.index("rename") + 1 :]
    assert {"a", "b", MANIFEST} <= set(before)
    assert before.index(MANIFEST) > max(before.index("a"), before.index("b"))
    assert after == [tmp_path.name]


def test_sweep_removes_what_the_dead_left(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    dead = int(child.stdout)
    here, other = disk._machine(), "0123abcd"
    alive = {f".tmp-z-{here}-{os.getpid()}", f".tmp-u-{other}-{dead}"}
    (tmp_path / f".tmp-x-{here}-{dead}").mkdir()
    old = tmp_path / f".tmp-w-{other}-{dead}"
    for name in (f".tmp-y-1-{here}-{dead}", old.name, *alive):
        (tmp_path / name).write_bytes(b"")
    os.utime(old, (0, 0))
    sweep(tmp_path, name="y-1")
    assert len(os.listdir(tmp_path)) == 4
    sweep(tmp_path)
    assert set(os.listdir(tmp_path)) == alive
    sweep(tmp_path, locked=True)
    assert os.listdir(tmp_path) == []
    sweep(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["f", "a-b", "[a]"])
def test_writer_removes_what_the_dead_left_of_its_target(tmp_path: Path, name: str) -> None:
    killed = f"""
import os, sys
from centre_builders.artefact import write_folder
with write_folder({str(tmp_path / name)!r}, about={{}}) as folder:
    (folder / "a").write_bytes(b"half")
    os._exit(1)
"""
    subprocess.run([sys.executable, "-c", killed], check=False)
    assert len(os.listdir(tmp_path)) == 1
    write(tmp_path / name)
    assert os.listdir(tmp_path) == [name]


def test_folder_whose_entry_cannot_be_forced_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the rename: the new one is there, and nobody says that the old one is."""
    real = os.fsync

    def fail(descriptor: int, number: int = errno.EIO) -> None:
        if Path(os.readlink(f"/proc/self/fd/{descriptor}")) == tmp_path:
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DiskError, match=f"^{tmp_path / 'f'} is written, but after a power cut"):
        write_file(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"new"
    # Some file systems force no folders.
    monkeypatch.setattr(os, "fsync", partial(fail, number=errno.EINVAL))
    write_file(tmp_path / "f", b"newer")


def test_folder_that_stepped_aside_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file system cannot exchange two names, and the kill is between the renames."""
    monkeypatch.setattr(disk, "_exchange", lambda *_: False)
    write(tmp_path / "f", b"old")
    write(tmp_path / "f", b"new")
    assert (tmp_path / "f" / "part" / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["f"]
    gone = f"{disk._machine()}-999999999"
    (tmp_path / "f").rename(tmp_path / f".old-f-{gone}")
    sweep(tmp_path)
    verify_folder(tmp_path / "f")
    shutil.copytree(tmp_path / "f", tmp_path / f".old-f-{gone}")
    sweep(tmp_path)
    assert os.listdir(tmp_path) == ["f"]


def test_file_does_not_take_a_folders_place(tmp_path: Path) -> None:
    write(tmp_path / "f")
    with pytest.raises(DiskError, match=r"cannot write .*f: Is a directory"):
        write_file(tmp_path / "f", b"x")
    verify_folder(tmp_path / "f")
    assert os.listdir(tmp_path) == ["f"]


def test_error_of_another_file_is_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), write_folder(tmp_path / "a" / "f", about={}):
        (tmp_path / "missing").read_bytes()
