# SPDX-License-Identifier: Apache-2.0
"""Opening labelled scenes and checkpoints"""

import shutil
from pathlib import Path

import pytest
import torch
from small_rooms import CATEGORIES, FLOOR, save, small_room

from panoptic_gs.errors import InputError
from panoptic_gs.objects.opening import open_scene
from panoptic_gs.uplift import LabelledScene


@pytest.fixture
def folder(tmp_path):
    save(small_room(), tmp_path / "room")
    return tmp_path / "room"


class TestOpening:
    def test_a_folder_and_its_ply_are_the_same(self, folder):
        for path in (folder, folder / "splats.ply"):
            opened = open_scene(path)
            assert (len(opened.scene.splats), opened.folder, opened.thinned) == (3400, folder, False)

    def test_a_sample_is_even_and_repeats(self, folder):
        first, again = open_scene(folder, 1000), open_scene(folder, 1000)
        whole = open_scene(folder).scene
        assert len(first.scene.splats) == 1000
        assert first.num_gaussians == 3400
        assert torch.equal(first.scene.splats.means, again.scene.splats.means)
        index = torch.cdist(first.scene.splats.means, whole.splats.means).argmin(1)
        assert torch.equal(whole.labels.subset(index).to_dense(20), first.scene.labels.to_dense(20))
        share = float((first.scene.labels.best()[0] == FLOOR).float().mean())
        assert share == pytest.approx(1600 / 3400, abs=0.05)

    @pytest.mark.parametrize("missing", ["labels.safetensors", "segments.json"])
    def test_splats_without_labels_say_how_to_get_some(self, folder, missing):
        (folder / missing).unlink()
        for path in (folder, folder / "splats.ply"):
            with pytest.raises(InputError, match="panoptic-gs uplift"):
                open_scene(path)

    def test_any_other_ply_says_how_to_label_it(self, folder):
        shutil.copy(folder / "splats.ply", folder / "garden.ply")
        with pytest.raises(InputError, match=r"uplift \S*garden\.ply"):
            open_scene(folder / "garden.ply")

    def test_labels_of_another_scene(self, folder, tmp_path):
        other = small_room()
        other = other._replace(
            splats=other.splats.subset(torch.arange(100)), labels=other.labels.subset(torch.arange(100))
        )
        save(other, tmp_path / "other")
        shutil.copy(tmp_path / "other" / "labels.safetensors", folder)
        with pytest.raises(InputError, match="labels of 100 Gaussians"):
            open_scene(folder)

    def test_segments_of_another_scene(self, folder):
        file = folder / "segments.json"
        file.write_text(file.read_text().replace('"id": 9', '"id": 99'))
        with pytest.raises(InputError, match="the first 9"):
            open_scene(folder)

    def test_a_scene_folder_is_no_labelled_scene(self, tmp_path):
        (tmp_path / "transforms.json").write_text("{}")
        with pytest.raises(InputError, match="--data"):
            open_scene(tmp_path)

    def test_a_scene_larger_than_memory_offers_a_sample(self, folder, monkeypatch):
        monkeypatch.setattr("panoptic_gs.memory.available", lambda: 200_000.0)
        with pytest.raises(InputError, match="machine that has more"):
            open_scene(folder)
        with pytest.raises(InputError, match="--max-gaussians") as error:
            open_scene(folder, sampled=True)
        assert len(open_scene(folder, int(error.value.mend.split()[-1])).scene.splats) < 3400

    @pytest.mark.parametrize("name", ["nowhere", "."])
    def test_nothing_there(self, tmp_path, name):
        with pytest.raises(InputError):
            open_scene(tmp_path / name)


class TestCheckpoints:
    def write(self, run: Path, scene: LabelledScene | None) -> None:
        room = small_room()
        tensors = ("indptr", "label", "weight", "total", "void")
        extra = {"labels": None} if scene is None else {
            "labels": {name: getattr(scene.labels, name) for name in tensors},
            "segments": [(s.id, s.category_id, s.score) for s in scene.segments],
            "categories": [(c.id, c.name, c.isthing, c.color) for c in scene.categories],
            "source": "test",
        }  # fmt: skip
        gaussians = {
            "means": room.splats.means, "quats": room.splats.quats * 2, "scales": room.splats.scales.log(),
            "opacities": room.splats.opacities.logit()[:, None], "features_dc": room.splats.sh[:, 0],
            "features_rest": torch.zeros(len(room.splats), 15, 3),
        }  # fmt: skip
        state = {f"_model.gauss_params.{name}": value for name, value in gaussians.items()}
        (run / "nerfstudio_models").mkdir(parents=True)
        (run / "config.yml").write_text("")
        torch.save({"step": 1, "pipeline": {**state, "_model._extra_state": extra}},
                   run / "nerfstudio_models" / "step-000000001.ckpt")  # fmt: skip

    def test_a_run_opens_as_its_labelled_scene(self, tmp_path):
        room = small_room()
        self.write(tmp_path / "run", room)
        for path in (tmp_path / "run", tmp_path / "run" / "config.yml"):
            opened = open_scene(path)
            assert opened.folder == tmp_path / "run"
            torch.testing.assert_close(opened.scene.splats.scales, room.splats.scales)
            torch.testing.assert_close(opened.scene.splats.opacities, room.splats.opacities)
            assert torch.equal(opened.scene.labels.to_dense(20), room.labels.to_dense(20))
            assert opened.scene.categories == CATEGORIES

    def test_a_run_without_labels(self, tmp_path):
        self.write(tmp_path / "run", None)
        with pytest.raises(InputError, match="no labels"):
            open_scene(tmp_path / "run")

    def test_code_in_a_checkpoint_is_not_run(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return (Path.touch, (tmp_path / "hacked",))

        (tmp_path / "run" / "nerfstudio_models").mkdir(parents=True)
        (tmp_path / "run" / "config.yml").write_text("")
        torch.save({"pipeline": Evil()}, tmp_path / "run" / "nerfstudio_models" / "step-000000001.ckpt")
        with pytest.raises(InputError, match="cannot be read"):
            open_scene(tmp_path / "run")
        assert not (tmp_path / "hacked").exists()
