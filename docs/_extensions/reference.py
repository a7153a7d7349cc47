"""The configuration reference: semcentres/settings.py and conf/, as the pages are built."""

import ast
import re
from collections.abc import Iterator

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from semcentres import settings
from semcentres.compose import config_folder, options
from semcentres.keys import SOURCE, fields, meaning

VERBS = {schema.__name__: verb for verb, schema in settings.SCHEMAS.items()}


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the directives `settings` and `options`; mend docstrings before napoleon sees them."""
    app.add_directive("settings", Settings)
    app.add_directive("options", Options)
    app.connect("autodoc-process-docstring", indented_is_literal, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class Settings(SphinxDirective):
    """All keys of all verbs, with type, default and meaning."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        self.env.note_dependency(str(SOURCE))
        return self.parse_text_to_nodes("\n".join(settings_text()), allow_section_headings=True)


class Options(SphinxDirective):
    """The YAML files of every group."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        for path in config_folder().rglob("*.yaml"):
            self.env.note_dependency(str(path))
        return self.parse_text_to_nodes("\n".join(options_text()), allow_section_headings=True)


def settings_text() -> Iterator[str]:
    """Yield Markdown: a section a dataclass, a row a field, whose comment is its meaning."""
    code = SOURCE.read_text()
    for node in ast.parse(code).body:
        if not isinstance(node, ast.ClassDef):
            continue
        yield f"({node.name.lower()})="
        yield f"### {title(node.name)}\n"
        if node.name not in VERBS:
            yield f"{ast.get_docstring(node)}\n"
        elif groups := groups_of(VERBS[node.name]):
            yield f"Groups: {', '.join(f'`{group}`' for group in groups)}.\n"
        yield "| key | type | default | meaning |\n|---|---|---|---|"
        for field in fields(node):
            yield row(field, code.splitlines()[field.lineno - 1 : field.end_lineno])
        yield ""


def title(dataclass: str) -> str:
    """Return what a dataclass is called in the reference: a command, or a group's key."""
    verb = VERBS.get(dataclass)
    if verb is None:
        return f"`{dataclass.removesuffix('Settings').lower()}.`"
    return f"`semcentres {'data check' if verb == 'check' else verb}`"


def groups_of(verb: str) -> list[str]:
    """Return the choices that a verb's YAML begins with, as `group=option`."""
    defaults = yaml.safe_load((config_folder() / f"{verb}.yaml").read_text())["defaults"]
    pairs = [next(iter(entry.items())) for entry in defaults if isinstance(entry, dict)]
    return [f"{group.removeprefix('optional ')}={option or '…'}" for group, option in pairs]


def row(field: ast.AnnAssign, lines: list[str]) -> str:
    """Return a field's row of the table."""
    key, kind = ast.unparse(field.target), ast.unparse(field.annotation)
    if kind.endswith("Settings"):
        return f"| [`{key}.`]({kind.lower()}) | | | see there |"
    default = ast.unparse(field.value) if field.value else "MISSING"
    shown = "needed" if default == "MISSING" else f"`{default}`"
    return f"| `{key}` | `{escape(kind)}` | {escape(shown)} | {escape(meaning(lines))} |"


def escape(text: str) -> str:
    """Return a text that may stand in a table and is read as it is written."""
    return text.replace("|", r"\|").replace("<", r"\<")


def options_text() -> Iterator[str]:
    """Yield Markdown: a section a group, a block a YAML."""
    for group in sorted(path.name for path in config_folder().iterdir() if path.is_dir()):
        yield f"### `{group}`\n"
        for option in options(group):
            content = (config_folder() / group / f"{option}.yaml").read_text()
            links = ", ".join(f"{{py:obj}}`~{target}`" for target in targets(content))
            yield f"`{group}={option}`" + (f" ({links})" if links else "")
            yield f"\n```yaml\n{content}```\n"


def targets(content: str) -> list[str]:
    """Return what a YAML names to be called, each once."""
    return list(dict.fromkeys(re.findall(r"_target_: (\S+)", content)))


def indented_is_literal(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Let an indented paragraph be a formula or code, as docstrings mean it, not a quotation."""
    done: list[str] = []
    before, block = 0, None  # depth of the text, and of the text that a block stands below
    for line in lines:
        depth = len(line) - len(line.lstrip())
        if line.strip():
            if block is not None and depth <= block:
                block = None
            if block is None:
                if done and not done[-1].strip() and depth > before:
                    done += [f"{' ' * before}::", ""]
                    block = before
                else:
                    before = depth
                    # A norm, not a substitution.
                    line = re.sub(r"\|(?=\S)", r"\\|", line)
        done.append(line)
    lines[:] = done
