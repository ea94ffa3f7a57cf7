# SPDX-License-Identifier: Apache-2.0
"""Holds every import to the table of rooms in ``docs/architecture.md``: a module imports only what stands above it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("panoptic_gs", "nerfstudio_plugin", "benchmarks")


def layers(text: str) -> dict[str, int]:
    """Room → the number of its row, from the table that starts with "| room |"."""
    rows = re.search(r"^\| room \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, flags=re.MULTILINE)
    assert rows is not None, "docs/architecture.md has no table of rooms"
    numbers: dict[str, int] = {}
    for number, row in enumerate(rows[1].splitlines()):
        for name in re.findall(r"`([^`]+)`", row.split("|")[1]):
            numbers[name.removeprefix("panoptic_gs/").removesuffix(".py").rstrip("/").replace("/", ".")] = number
    return numbers


def room_of(module: str) -> str | None:
    """The room that a module lies in; None for the package's own front door and the compiled module."""
    parts = module.split(".")
    if parts[0] != "panoptic_gs":
        return parts[0]
    if len(parts) == 1 or parts[1] in ("__main__", "_kernels"):
        return None
    return parts[1]


def is_room(name: str) -> bool:
    inside = ROOT / "panoptic_gs" / name
    return inside.is_dir() or inside.with_suffix(".py").is_file()


def imports_of(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and module of each import, those inside functions and type-checking blocks included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            if node.module == "panoptic_gs":  # a room, or a name that the front door offers
                rooms = [alias.name for alias in node.names if is_room(alias.name)]
                yield from ((node.lineno, f"panoptic_gs.{name}") for name in rooms)
            else:
                yield node.lineno, node.module


def violations(file: Path, module: str, table: dict[str, int]) -> Iterator[str]:
    """Imports of a file that reach below its own row."""
    room = room_of(module)
    if room is None:
        return
    if room not in table:
        yield f"{file}: '{room}' is missing from the table"
        return
    for line, imported in imports_of(ast.parse(file.read_text(encoding="utf-8"))):
        target = room_of(imported)
        if imported.split(".")[0] not in PACKAGES or target is None or target == room:
            continue
        if target not in table:
            yield f"{file}:{line}: imports '{target}', which is missing from the table"
        elif table[target] > table[room]:
            yield f"{file}:{line}: '{room}' imports '{target}', which stands below it"


def sources() -> Iterator[tuple[Path, str]]:
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            yield file, ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_imports_follow_the_table_of_rooms() -> None:
    table = layers((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    found = [problem for file, module in sources() for problem in violations(file, module, table)]
    assert not found, "\n".join(found)


def test_every_room_of_the_table_exists() -> None:
    table = layers((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    for room in table:
        assert is_room(room) or (ROOT / room).is_dir(), f"the table lists '{room}', which does not exist"


def test_only_the_door_imports_the_compiled_module() -> None:
    for file, module in sources():
        if room_of(module) == "kernels":
            continue
        for line, imported in imports_of(ast.parse(file.read_text(encoding="utf-8"))):
            assert not imported.startswith("panoptic_gs._kernels"), f"{file}:{line} goes around panoptic_gs/kernels"


def test_only_the_plugin_and_benchmarks_import_nerfstudio() -> None:
    for file, module in sources():
        if module.startswith("panoptic_gs"):
            for line, imported in imports_of(ast.parse(file.read_text(encoding="utf-8"))):
                assert imported.split(".")[0] != "nerfstudio", f"{file}:{line} imports nerfstudio"


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("from panoptic_gs.cli import main", "stands below it"),
        ("def f():\n    import panoptic_gs.cli.main", "stands below it"),
        ("from panoptic_gs import cli", "stands below it"),
        ("import nowhere", None),
        ("from panoptic_gs.attic import chest", "missing from the table"),
        ("from panoptic_gs.errors import InputError", None),
    ],
)
def test_a_wrong_import_is_found(tmp_path: Path, source: str, complaint: str | None) -> None:
    file = tmp_path / "camera.py"
    file.write_text(source + "\n")
    found = list(violations(file, "panoptic_gs.camera", {"errors": 0, "camera": 1, "cli": 2}))
    assert (complaint is None and not found) or (complaint is not None and complaint in found[0])
