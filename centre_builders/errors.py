"""What went wrong, for the person who can mend it: one line, the culprit and the remedy."""


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
    """The disk is full."""
