"""What a person sees of an audit of class names: two tables and a verdict."""

import unicodedata
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from centre_builders.audit import Audit, ClassAudit
from centre_builders.findings import Finding, Severity

MANY = 40  # classes or notes; above, only the classes with something to mend, and no notes
COLOURS = {Severity.FAULT: "red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}


def show(audit: Audit) -> None:
    """Print the classes, the findings with their remedies, and whether it is safe to train."""
    console = Console()
    _print_classes(console, audit)
    print_findings(console, audit.findings)
    faults = "1 fault" if audit.num_faults == 1 else f"{audit.num_faults} faults"
    console.print("safe to train" if audit.safe else f"not safe: {faults}")


def literal(text: str) -> Text:
    r"""Return a text that a terminal shows as it is: no markup, no control or hidden characters.

    >>> print(literal("a\x1b[31m[red]"))
    a\x1b[31m[red]
    """
    return Text("".join(_visible(character) for character in text))


def _visible(character: str) -> str:
    # Controls, formats (text direction), surrogates, line and paragraph separators.
    hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    return character.encode("unicode_escape").decode() if hidden else character


def _table(*headers: str) -> Table:
    table = Table(show_lines=True)
    for header in headers:
        # A name without spaces is folded into the next line, not cut.
        table.add_column(header, overflow="fold")
    return table


def _print_classes(console: Console, audit: Audit) -> None:
    shown: Sequence[ClassAudit] = audit.classes
    if len(shown) > MANY:
        mended = [f for f in audit.findings if f.severity is not Severity.NOTE]
        concerned = {name for finding in mended for name in finding.names}
        shown = [one for one in shown if one.name in concerned]
    left = len(audit.classes) - len(shown)
    table = _table("class", "text", "read as", "not known", "noun senses")
    for one in shown:
        read = one.resolution
        cells = (
            one.name,
            "" if read.text == one.name else read.text,
            " + ".join(read.tokens),
            ", ".join(read.unknown),
            str(len(one.senses) or ""),
        )
        table.add_row(*map(literal, cells))
    if shown:
        console.print(table)
    if left:
        console.print(f"{left} of {len(audit.classes)} classes have no fault and no warning")


def print_findings(console: Console, findings: Sequence[Finding]) -> None:
    """Print findings with their remedies; notes only where they are few."""
    notes = sum(finding.severity is Severity.NOTE for finding in findings)
    named = [f for f in findings if f.severity is not Severity.NOTE or notes <= MANY]
    table = _table("", "finding", "remedy")
    for finding in named:
        kind = Text(finding.severity, style=COLOURS[finding.severity])
        table.add_row(kind, literal(finding.message), literal(finding.remedy))
    if named:
        console.print(table)
    if notes > MANY:
        console.print(f"{notes} notes, on homographs and the like, are in audit_out=FILE.json only")
