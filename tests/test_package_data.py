# SPDX-License-Identifier: Apache-2.0
"""What has to be in the installed package beside its modules."""

import re
import subprocess
from importlib import metadata, resources
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA = {
    "panoptic_gs": (
        "py.typed",
        "network/weights/tiny.safetensors",
        "report/page.css",
        "report/page.js",
        "viewer/page_additions.html",
        "viewer/object_panel.css",
        "viewer/object_panel.js",
        "objects/object_list.css",
        "objects/object_list.js",
        "share/page.css",
        "share/page.html",
        "share/page.js",
        "share/ray.js",
        "share/view.js",
        "share/vendor/README.md",
        "share/vendor/entry.js",
        "share/vendor/splat_renderer.js",
    ),
    "nerfstudio_plugin": ("py.typed",),
}


@pytest.mark.parametrize(("package", "name"), [(package, name) for package, names in DATA.items() for name in names])
def test_data_files_are_installed(package: str, name: str):
    file = resources.files(package).joinpath(name)
    assert file.is_file()
    assert file.read_bytes() or name == "py.typed"


def test_no_data_file_is_forgotten_above():
    for package, names in DATA.items():
        folder = ROOT / package
        files = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc", ".so")]
        assert {path.relative_to(folder).as_posix() for path in files} == set(names)


def test_a_wheel_takes_every_file():
    """The builder leaves out what .gitignore names, also where git itself keeps the file."""
    files = [path for package in DATA for path in (ROOT / package).rglob("*") if path.is_file()]
    files = [str(path.relative_to(ROOT)) for path in files if path.suffix not in (".pyc", ".so")]
    command = ["git", "-C", str(ROOT), "check-ignore", "--no-index", "--stdin"]
    try:
        ignored = subprocess.run(command, input="\n".join(files), capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no git")
    if ignored.returncode == 128:
        pytest.skip("not in a git checkout")
    assert ignored.stdout.split() == []


def test_licences_and_commands_are_installed():
    distribution = metadata.distribution("panoptic-gs")
    licences = {Path(name).name for name in distribution.metadata.get_all("License-File", [])}
    assert licences == {"LICENSE", *(file.name for file in (ROOT / "licenses").iterdir())}
    commands = {entry.name: entry for entry in distribution.entry_points}
    assert set(commands) == {"panoptic-gs", "panst3r-ludvig", "panoptic-splatting", "panopticrecon", "panoptic-scene"}
    assert callable(commands["panoptic-gs"].load())


def test_one_version_everywhere():
    said = {
        "pyproject.toml": r'^version = "(.+)"',
        "CITATION.cff": r"^version: (.+)",
        "CMakeLists.txt": r"^project\(panoptic_gs VERSION (\S+)",
        "CHANGELOG.md": r"^## (\d\S*)",
    }
    found = {
        name: re.search(pattern, (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
        for name, pattern in said.items()
    }
    assert len({None if match is None else match[1] for match in found.values()}) == 1, found
