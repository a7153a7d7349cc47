"""Tests of semcentres.data.npm on an archive made here and with stand-ins for npm."""

import shutil
import tarfile
from base64 import b64encode
from hashlib import sha512
from pathlib import Path

import pytest

from centre_builders.errors import CorruptArtefact, InputError
from semcentres.data import npm
from semcentres.data.npm import Package, read_package


@pytest.fixture
def package(tmp_path: Path) -> Package:
    """A package of two files and a link, in tmp_path/kept, as `npm pack` would leave it."""
    inside = tmp_path / "package"
    inside.mkdir()
    (inside / "a.txt").write_text("first")
    (inside / "b.txt").write_text("second")
    (inside / "out.txt").symlink_to("/etc/hostname")
    archive = tmp_path / "kept" / "things-1.2.3.tgz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as file:
        file.add(inside, "package")
    integrity = b64encode(sha512(archive.read_bytes()).digest()).decode()
    return Package(name="things", version="1.2.3", integrity=integrity)


def fake_npm(folder: Path, script: str) -> None:
    """Put a program called npm into a folder that is the whole PATH."""
    shell = shutil.which("sh")
    (folder / "npm").write_text(f"#!{shell}\n{script}\n")
    (folder / "npm").chmod(0o755)


def test_package_is_read_from_the_folder(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    files = read_package(package, root=tmp_path / "kept", wanted=lambda path: "b" in path)
    assert files == {"package/b.txt": b"second"}


def test_package_gives_no_links(package: Package, tmp_path: Path) -> None:
    files = read_package(package, root=tmp_path / "kept", wanted=lambda _: True)
    assert sorted(files) == ["package/a.txt", "package/b.txt"]


def test_package_of_another_hash_is_refused(package: Package, tmp_path: Path) -> None:
    path = tmp_path / "kept" / package.filename
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(CorruptArtefact, match="things 1.2.3; remove it"):
        read_package(package, root=tmp_path / "kept", wanted=lambda _: True)


def test_package_is_fetched_and_leaves_nothing(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for npm copies the archive to where it was asked, if it was asked rightly."""
    kept, scratch, cp = tmp_path / "kept", tmp_path / "scratch", shutil.which("cp")
    scratch.mkdir()
    right = 'test "$2" = things@1.2.3 && test "$7" = "$5/cache"'
    fake_npm(tmp_path, f'{right} && {cp} {kept}/things-1.2.3.tgz "$5"')
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    files = read_package(package, root=tmp_path / "other", wanted=lambda path: "a.txt" in path)
    assert files == {"package/a.txt": b"first"}
    assert not list(scratch.iterdir())


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'npm error code E404' >&2; exit 1", r"npm pack failed \(code E404\)"),
        ("exit 3", "exit 3"),
        ("exec /bin/sleep 5", "more than 0.2 s"),
    ],
)
def test_npm_that_fails_is_named(
    script: str, reason: str, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(npm, "TIMEOUT", 0.2)
    with pytest.raises(InputError, match=rf"things 1.2.3 cannot be fetched: .*{reason}.*data.root"):
        read_package(package, root=tmp_path / "other", wanted=lambda _: True)
