# SPDX-License-Identifier: Apache-2.0
import json
import math
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from panoptic_gs import Camera, InputError, PanopticScene, export
from panoptic_gs.cli.main import main
from panoptic_gs.uplift import LabelledScene, save_labelled_scene


def _cameras(count: int) -> list[Camera]:
    angles = np.linspace(0, 2, count)
    return [
        Camera.look_at([2.5 * np.cos(a), 2.5 * np.sin(a), 1.5], [0, 0, 0.5], [0, 0, 1], 1.2, 66, 48) for a in angles
    ]


@pytest.mark.parametrize("count", [2, 5])
def test_interpolated_paths_pass_through_their_cameras(count: int) -> None:
    cameras = _cameras(count)
    path = list(export.interpolate_cameras(cameras, 4).values())
    assert len(path) == (count - 1) * 4 + 1
    for camera, found in zip(cameras, path[::4]):
        torch.testing.assert_close(found.viewmat, camera.viewmat, atol=1e-5, rtol=0)
    steps = [float((one.center - other.center).norm()) for one, other in pairwise(path)]
    assert max(steps) < 1.6 * min(steps)


def test_paths_of_nerfstudio_s_viewer(tmp_path: Path) -> None:
    camera = _cameras(2)[1]
    fov = np.degrees(2 * np.arctan(24 / float(camera.K[1, 1])))
    document = {
        "camera_type": "perspective", "render_width": 66, "render_height": 48, "fps": 24,
        "camera_path": [{"camera_to_world": camera.to_opengl().flatten().tolist(), "fov": float(fov), "aspect": 1.3}],
    }  # fmt: skip
    file = tmp_path / "path.json"
    file.write_text(json.dumps(document))
    (found,) = export.load_camera_path(file).values()
    torch.testing.assert_close(found.viewmat, camera.viewmat, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.K, camera.K, atol=1e-3, rtol=0)
    for change, message in (
        ({"camera_type": "fisheye"}, "fisheye"), ({"camera_type": "equirectangular"}, "equirectangular"),
        ({"camera_path": []}, "camera_path"), ({"render_width": None}, "malformed"),
        ({"render_height": -math.inf}, "render_height"), ({"render_width": 0}, "render_width"),
        ({"camera_path": [{"camera_to_world": np.eye(4).tolist(), "fov": 0}]}, "fov"),
        ({"camera_path": [{"camera_to_world": np.eye(4).tolist(), "fov": 180}]}, "fov"),
        ({"camera_path": [{"camera_to_world": np.zeros(16).tolist(), "fov": 60}]}, r"camera_path\[0\]"),
        ({"camera_path": [{"camera_to_world": [1, 2], "fov": 60}]}, "camera_to_world"),
        ({"camera_path": "all"}, "camera_path"),
    ):  # fmt: skip
        file.write_text(json.dumps(document | change))
        with pytest.raises(InputError, match=message):
            export.load_camera_path(file)


def test_videos_show_colour_beside_labels(tmp_path: Path, furnished: LabelledScene) -> None:
    path = export.interpolate_cameras(_cameras(2), 3)
    views = list(export.render_path(furnished, path))
    with export.VideoWriter(tmp_path / "v.mp4", fps=10) as video:
        for view in views:
            video.add(export.side_by_side(view))
    with av.open(str(tmp_path / "v.mp4")) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert stream.average_rate == 10
    assert len(frames) == len(views) == 4
    for frame, view in zip(frames, views):
        assert frame.shape == (48, 132, 3)
        for half, expected in ((frame[:, :66], view.rgb), (frame[:, 66:], view.panoptic)):
            assert np.abs(half.astype(float) - expected).mean() < 12


def test_a_failed_video_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError), export.VideoWriter(tmp_path / "v.mp4") as video:  # noqa: PT012
        video.add(np.zeros((48, 64, 3), np.uint8))
        video.add(np.zeros((48, 64), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_everything_and_says_where(
    tmp_path: Path, furnished: LabelledScene, capsys: pytest.CaptureFixture[str]
) -> None:
    save_labelled_scene(tmp_path / "labelled", furnished.splats, furnished.labels, furnished.labelling)
    camera = _cameras(2)[0]
    file = tmp_path / "path.json"
    file.write_text(json.dumps({
        "render_width": 64, "render_height": 48,
        "camera_path": 2 * [{"camera_to_world": camera.to_opengl().flatten().tolist(), "fov": 60.0}],
    }))  # fmt: skip
    out = tmp_path / "out"
    main(["export", str(tmp_path / "labelled"), "--out", str(out), "--path", str(file)])
    said = capsys.readouterr().out
    index = json.loads((out / "export.json").read_text())["files"]
    assert set(index) == {"splats/splats.ply", "objects/", "points.ply", "boxes.glb", "scene_graph.json", "panoptic/",
                          "video.mp4"}  # fmt: skip
    for name in index:
        assert (out / name).exists()
        assert str(out / name.rstrip("/")) in said.replace("\n", "")
    rendered = PanopticScene.load(out / "panoptic")
    assert set(np.unique(rendered.maps["00000"])) >= {1, 2, 3}
    with pytest.raises(SystemExit):
        main(["export", str(tmp_path / "labelled"), "--out", str(out)])
    with pytest.raises(SystemExit):
        main(["export", str(tmp_path / "labelled"), "--out", str(tmp_path / "none"), "--formats", "maps"])
    assert not (tmp_path / "none").exists()
