# SPDX-License-Identifier: Apache-2.0
"""What ``import panoptic_gs`` promises. A change here is a change for every user."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import panoptic_gs as pgs

PUBLIC = {
    "Camera", "Category", "GaussianLabels", "InputError", "LabelVotes", "PanopticScene", "Segment", "Splats", "merge",
    "metrics", "rasterization", "render_panoptic", "uplift_features", "uplift_labels",
}  # fmt: skip


def parameters(function) -> list[str]:
    return list(inspect.signature(function).parameters)


def test_the_public_names_are_these():
    assert set(pgs.__all__) == PUBLIC
    assert all(hasattr(pgs, name) for name in PUBLIC)


def test_signatures_keep():
    assert parameters(pgs.Camera) == ["viewmat", "K", "width", "height"]
    assert parameters(pgs.Splats) == ["means", "quats", "scales", "opacities", "sh"]
    assert parameters(pgs.Category) == ["id", "name", "isthing", "color"]
    assert parameters(pgs.uplift_labels)[:4] == ["splats", "views", "weights", "void"]
    assert inspect.signature(pgs.uplift_labels).parameters["void"].default == "abstain"
    assert parameters(pgs.render_panoptic)[:3] == ["splats", "labels", "camera"]
    assert parameters(pgs.merge.overlaps) == ["mask_logits"]
    assert parameters(pgs.merge.solve_qubo) == ["areas", "overlaps", "penalty", "seed"]
    assert parameters(pgs.merge.qubo)[:3] == ["predictions", "penalty", "seed"]
    assert parameters(pgs.merge.maskformer)[:2] == ["predictions", "rules"]
    assert parameters(pgs.merge.merge_predictions)[:2] == ["predictions", "method"]
    assert parameters(pgs.metrics.ScenePanopticQuality)[:2] == ["categories", "protocol"]
    first = ["means", "quats", "scales", "opacities", "colors", "viewmats", "Ks", "width", "height", "near_plane",
             "far_plane", "radius_clip", "eps2d", "sh_degree", "packed", "tile_size", "backgrounds", "render_mode",
             "sparse_grad", "absgrad", "rasterize_mode"]  # fmt: skip
    assert parameters(pgs.rasterization)[: len(first)] == first


def test_importing_costs_little_beyond_torch():
    code = "import torch, time; t = time.perf_counter(); import panoptic_gs; print(time.perf_counter() - t)"
    seconds = min(
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    )
    assert seconds < 1.0


def test_the_library_does_not_import_nerfstudio():
    for path in Path(pgs.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.split(".")[0] in ("nerfstudio", "nerfstudio_plugin") for name in names), path
