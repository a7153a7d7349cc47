"""What went wrong, for the person who can mend it: one line, the culprit and the remedy."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class InputError(ValueError):
    """A user's mistake or a bad file."""

    exit_code = 3


class CorruptArtefact(InputError):
    """A file is not as it was written."""


class UsageError(InputError):
    """A wrong configuration or command."""

    exit_code = 2


class NumericError(InputError):
    """A computation left the finite numbers."""

    exit_code = 4


class DiskError(InputError):
    """The system refuses to read or write a file."""

    exit_code = 5


class NoSpace(DiskError):
    """The disk is full.

    Args:
        message: for people.
        need: bytes that what was being written takes at least.
    """

    def __init__(self, message: str, need: int) -> None:
        super().__init__(message, need)  # both: it may be pickled on its way from a worker
        self.need = need

    def __str__(self) -> str:
        return str(self.args[0])


@contextmanager
def refused_unless(path: str | Path, what: str) -> Iterator[None]:
    """Turn whatever reading a file raises into one line that names it.

    For files that may be a stranger's: whichever of its parser's errors a file raises, from
    KeyError to RecursionError and MemoryError, the file is at fault.

    Args:
        path: of the file.
        what: it should be, with its article.

    Raises:
        CorruptArtefact: within, the file cannot be read, or its parser raised something of its own.
    """
    try:
        yield
    except CorruptArtefact:
        raise
    except InputError as error:
        if str(path) in str(error):
            raise
        raise CorruptArtefact(f"{path}: {error}") from error
    except OSError as error:
        raise CorruptArtefact(f"{path} cannot be read ({error.strerror or error})") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise CorruptArtefact(
            f"{path} is not {what} ({type(error).__name__}: {reason}); restore it or make it anew"
        ) from error
