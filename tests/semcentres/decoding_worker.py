"""`python decoding_worker.py WORD...`: the command, whose images do not fit into memory.

Each process that decodes them writes its rank and the time into a file of the folder COUNTED.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from semcentres.cli import main
from semcentres.data import decoded

write = decoded._write


def _counted(
    folder: Path, paths: Sequence[Path], shape: Sequence[int], share: float
) -> dict[int, str]:
    with Path(os.environ["COUNTED"], os.environ["RANK"]).open("a") as file:
        file.write(f"{len(paths)}\n")
    time.sleep(1)  # the others of the machine would be here too
    return write(folder, paths, shape, share)


if __name__ == "__main__":
    decoded.MEMORY_SHARE, decoded._write = 0.0, _counted  # type: ignore[misc]
    sys.exit(main(sys.argv[1:]))
