"""The image files below a folder, and a word about the files that are none by their names."""

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from semcentres.data.image_file import SUFFIXES

log = logging.getLogger(__name__)


def find_below(place: Path) -> tuple[list[Path], Counter[str]]:
    """Return the image files below a folder, sorted, and the suffixes of other files, counted.

    What is hidden, or lies in a hidden folder, is neither.
    """
    found: list[Path] = []
    others: Counter[str] = Counter()
    for path in sorted(place.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(place).parts)
        # A link to nowhere, and a pipe, are listed by their names, and then told as unreadable.
        if hidden or path.is_dir():
            continue
        if path.suffix.lower() in SUFFIXES:
            found.append(path)
        else:
            others[path.suffix.lower() or "no suffix"] += 1
    return found, others


def warn_of_ignored(place: Path, others: Mapping[str, int]) -> None:
    """Say how many files of which suffixes are left alone; nothing where there are none."""
    if not others:
        return
    kinds = sorted(others.items(), key=lambda kind: (-kind[1], kind[0]))
    log.warning(
        "%s: %d files are left alone (%s); images end in %s: convert them if they are meant",
        place,
        sum(others.values()),
        ", ".join(f"{suffix} {num}" for suffix, num in kinds[:10]),
        ", ".join(sorted(SUFFIXES)),
    )
