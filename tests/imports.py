"""The server's modules, and what each imports."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ORDER = (
    *("service", "lifecycle", "bentoml_patches", "settings"),
    *("jobs", "exports", "environment", "api", "answers", "layout", "modes", "images", "engine", "models"),
)


def modules() -> Iterator[tuple[str, Path]]:
    """Dotted name and file of every module of the server."""
    for room in ORDER:
        files = [ROOT / f"{room}.py"] if (ROOT / f"{room}.py").exists() else sorted((ROOT / room).rglob("*.py"))
        for file in files:
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), file


def imported(file: Path, *, at_run_time: bool = False) -> set[str]:
    """Dotted names of everything that a file imports, wherever in it; `at_run_time` leaves out TYPE_CHECKING blocks."""
    names: set[str] = set()
    tree = ast.parse(file.read_text())
    skipped = {id(node) for block in typing_blocks(tree) for node in ast.walk(block)} if at_run_time else set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{file} has a relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def typing_blocks(tree: ast.Module) -> Iterator[ast.stmt]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from node.body
