# SPDX-License-Identifier: Apache-2.0
"""Every gsplat gives what ``rasterization`` promises, and one that nobody knows is refused by name."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch
from gsplat_versions import VERSIONS, Gsplat14, Gsplat16, Gsplat153, GsplatOnTheWay, install

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "rasterize"))
from random_scenes import as_float32, make_scene

from panoptic_gs import InputError, rasterization
from panoptic_gs.backends import Blending, RasterJob, gsplat

ROOT = Path(__file__).resolve().parents[2]


def job_of(**inputs) -> RasterJob:
    """The job that ``rasterization`` hands to a backend."""
    bound = inspect.signature(rasterization).bind(**inputs)
    bound.apply_defaults()
    given = dict(bound.arguments)
    fields = {field.name for field in dataclasses.fields(RasterJob)}
    blending = Blending(**{field.name: given.pop(field.name) for field in dataclasses.fields(Blending)})
    others = {**given.pop("others"), **{name: given.pop(name) for name in list(given) if name not in fields}}
    return RasterJob(blending=blending, others=others, **given)


def scenes():
    scene = make_scene(harmonics=3)
    signals = torch.rand(60, 2).double()
    yield "colours", make_scene(), {"backgrounds": torch.rand(2, 3)}
    yield "harmonics", scene, {"sh_degree": 3, "render_mode": "RGB+ED"}
    yield "signals", scene, {"sh_degree": 3, "extra_signals": signals, "backgrounds": torch.rand(2, 3)}
    yield "signals with backgrounds", scene, {
        "sh_degree": 2, "extra_signals": signals, "backgrounds": torch.rand(2, 5), "render_mode": "RGB+D",
    }  # fmt: skip
    yield "signals of each camera", make_scene(), {"extra_signals": torch.rand(2, 60, 4), "render_mode": "RGB+ED"}
    yield "signals and depth alone", make_scene(), {"extra_signals": signals, "render_mode": "ED"}
    each = {**scene, "colors": torch.stack([scene["colors"], scene["colors"].flip(0)])}
    yield "harmonics of each camera", each, {"sh_degree": 2}
    yield "harmonics of each camera, signals", each, {"sh_degree": 3, "extra_signals": signals}
    yield "depth", make_scene(), {"render_mode": "D", "backgrounds": torch.rand(2, 3)}
    yield "antialiased", make_scene(scale=0.03), {"rasterize_mode": "antialiased", "extra_signals": signals}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("scene", "options"), [pytest.param(s, o, id=name) for name, s, o in scenes()])
def test_every_version_renders_what_the_host_does(version, scene, options):
    inputs = as_float32({**scene, **options})
    image, alpha, meta = rasterization(**inputs, packed=False)
    found, found_alpha, found_meta = gsplat.Gsplat(version()).rasterization(job_of(**inputs, packed=False))
    assert found.shape == image.shape
    pairs = [(found, image), (found_alpha, alpha)]
    assert ("render_extra_signals" in found_meta) == ("extra_signals" in options)
    if "extra_signals" in options:
        pairs.append((found_meta["render_extra_signals"], meta["render_extra_signals"]))
    for theirs, ours in pairs:
        assert theirs.shape == ours.shape
        assert ((theirs - ours).abs() > 1e-4 * ours.abs().max().clamp(min=1.0)).float().mean() < 0.02  # thresholds


@pytest.mark.parametrize("version", VERSIONS)
def test_gradients_reach_everything_that_is_rendered(version):
    inputs = as_float32({**make_scene(harmonics=1), "extra_signals": torch.rand(60, 2)},
                        ("means", "colors", "extra_signals", "opacities"))  # fmt: skip
    image, _, meta = gsplat.Gsplat(version()).rasterization(job_of(**inputs, sh_degree=1))
    (image.sum() + meta["render_extra_signals"].sum()).backward()
    assert all(inputs[name].grad.abs().sum() > 0 for name in ("means", "colors", "extra_signals", "opacities"))


@pytest.mark.parametrize("version", VERSIONS)
def test_arguments_of_gsplat_go_through(version):
    inputs = as_float32(make_scene())
    meta = gsplat.Gsplat(version()).rasterization(job_of(**inputs, absgrad=True, packed=False, camera_model="pinhole"))
    assert meta[2] == {"n_cameras": 2, "packed": False, "absgrad": True}
    with pytest.raises(TypeError, match="tile_sise"):
        gsplat.Gsplat(version()).rasterization(job_of(**inputs, tile_sise=16))


def test_an_argument_that_a_version_lacks_is_named():
    inputs = as_float32(make_scene())
    gsplat.Gsplat(Gsplat153()).rasterization(job_of(**inputs, channel_chunk=8))
    with pytest.raises(InputError, match=r"channel_chunk: found 8.*1\.6\.0"):
        gsplat.Gsplat(Gsplat16()).rasterization(job_of(**inputs, channel_chunk=8))
    with pytest.raises(InputError, match=r"extra_signals_sh_degree: found 3.*1\.4\.0"):
        gsplat.Gsplat(Gsplat14()).rasterization(job_of(**inputs, extra_signals_sh_degree=3))


@pytest.mark.parametrize(
    ("version", "max_alpha", "expected"),
    [(Gsplat14, None, 0.999), (Gsplat153, None, 0.999), (GsplatOnTheWay, 0.99, 0.99), (Gsplat16, 0.99, 0.99)],
)
def test_the_clamp_is_the_one_of_the_forward_pass(version, max_alpha, expected, monkeypatch):
    door = gsplat.Gsplat(install(monkeypatch, version, max_alpha))
    assert door.alpha_max == expected
    inputs = as_float32(make_scene())
    door.rasterization(job_of(**inputs, alpha_max=expected))
    with pytest.raises(InputError, match=r"alpha_max: found 0\.9;"):
        door.rasterization(job_of(**inputs, alpha_max=0.9))


def test_a_clamp_that_is_not_said_is_not_guessed(monkeypatch):
    with pytest.raises(InputError, match="MAX_ALPHA"):
        gsplat.Gsplat(install(monkeypatch, Gsplat16)).alpha_max  # noqa: B018


@pytest.mark.parametrize("version", ["1.3.0", "1.7.0", "2.0.0rc1", "main"])
def test_an_unknown_version_is_refused(version, monkeypatch):
    module = Gsplat16()
    module.__version__ = version
    with pytest.raises(InputError, match=rf"gsplat {version}.*1\.4 to 1\.6.*pip install"):
        gsplat.Gsplat(module)


@pytest.mark.parametrize("version", ["1.4.0", "1.5.3", "1.5.3+pt24cu124", "1.6.0.dev1"])
def test_a_known_version_is_not(version):
    module = Gsplat153()
    module.__version__ = version
    assert gsplat.Gsplat(module).version == version


def test_a_function_without_what_is_passed_is_refused():
    module = Gsplat153()
    module.isect_tiles = lambda means2d, radii, depths, tile_size: None
    with pytest.raises(InputError, match="isect_tiles has no packed, tile_height, tile_width"):
        gsplat.Gsplat(module)


def test_the_installed_gsplat_passes():
    pytest.importorskip("gsplat")
    assert gsplat.load().version == sys.modules["gsplat"].__version__
    assert gsplat.load().alpha_max in (0.999, 0.99)


def test_the_package_asks_for_the_versions_that_the_door_takes():
    wanted = f"gsplat<{'.'.join(map(str, gsplat.BELOW))},>={'.'.join(map(str, gsplat.OLDEST))}"
    needed = [need.split(";")[0].strip() for need in metadata.requires("panoptic-gs") or [] if "gsplat" in need]
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert pyproject.count(f'"gsplat>={wanted.split(">=")[1]},<{wanted.split("<")[1].split(",")[0]}"') == 2
    assert needed


def test_there_is_no_other_door():
    for folder in ("panoptic_gs", "nerfstudio_plugin", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
                names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                assert not any(name.split(".")[0] == "gsplat" for name in names), path
