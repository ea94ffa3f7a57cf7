# SPDX-License-Identifier: Apache-2.0
"""Make the pictures of docs/viewer.md: python docs/viewer_pictures.py LABELLED SCENE.

LABELLED is a labelled scene folder, SCENE the scene folder it was made from. Needs playwright and a Chromium; pictures
of 100,000 Gaussians take some minutes without a GPU.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image
from tyro.conf import Positional

from panoptic_gs.errors import InputError
from panoptic_gs.objects.orientation import first_standpoint
from panoptic_gs.viewer.page import Page
from panoptic_gs.viewer.start import start_viewer

IMAGES = Path(__file__).parent / "images"
SWITCHES = "--no-sandbox --use-angle=swiftshader --enable-unsafe-swiftshader --disable-quic --no-first-run"


@dataclass(frozen=True)
class ViewerPictures:
    """Take pictures of 'panoptic-gs view' in a headless Chromium."""

    labelled: Positional[Path]
    """Labelled scene folder."""
    scene: Positional[Path]
    """Scene folder with photos and predicted maps."""
    only: tuple[str, ...] = ()
    """Names of pictures, all by default."""
    chromium: str = shutil.which("chromium") or ""
    """The browser."""
    patience: float = 8.0
    """Seconds that the browser gets to draw each."""

    def run(self) -> None:
        from playwright.sync_api import sync_playwright

        if not self.chromium:
            raise InputError("--chromium", "no chromium", "a Chromium", "Install one, or give its path.")
        viewer, url = start_viewer(self.labelled, self.scene, port=0)
        means = viewer.session.scene.splats.means.numpy()
        viewer.standpoint = first_standpoint(viewer.session.table, means, viewer.up, [])
        with sync_playwright() as api, tempfile.TemporaryDirectory() as profile:
            context = api.chromium.launch_persistent_context(
                profile, executable_path=self.chromium, args=SWITCHES.split(), viewport={"width": 1000, "height": 600}
            )
            for name, (prepare, tab) in PICTURES.items():
                if self.only and name not in self.only:
                    continue
                prepare(viewer)
                viewer.refresh()
                # A fresh page each time, since viser lowers the resolution of one that draws slowly.
                page = context.new_page()
                page.set_default_timeout(120_000)
                page.goto(url)
                page.get_by_text(tab, exact=True).evaluate("tab => tab.closest('button').click()")
                time.sleep(self.patience)
                file = IMAGES / f"viewer-{name}.png"
                page.screenshot(path=file)
                page.close()
                with Image.open(file) as image:
                    image.convert("RGB").quantize(160, dither=Image.Dither.NONE).save(file, optimize=True)
                print(f"{file} ({file.stat().st_size // 1024} KB)")
            context.close()
        viewer.close()


def _mode(mode: str) -> Callable[[Page], None]:
    def prepare(viewer: Page) -> None:
        look = viewer.session.look
        look.color_by, look.selected, look.min_confidence = mode, 0, 0.0  # pyright: ignore[reportAttributeAccessIssue]
        viewer.session.show_all()
        viewer._mode.value = mode

    return prepare


def _selected(viewer: Page) -> None:
    _mode("colour")(viewer)
    viewer.session.select(_nearest_chair(viewer))


def _isolated(viewer: Page) -> None:
    _mode("panoptic")(viewer)
    viewer.session.show_only({row.id for row in viewer.session.table if row.category.isthing})


def _edited(viewer: Page) -> None:
    _mode("panoptic")(viewer)
    chair = _nearest_chair(viewer)
    viewer.session.select(chair)
    box = viewer.session.table.box(chair, viewer.up)
    viewer.refresh()
    if box is not None:
        viewer.edit._take_up("split", chair, box)


def _cameras(viewer: Page) -> None:
    viewer.edit._let_go()
    _mode("panoptic")(viewer)
    viewer.cameras._show.value = True
    viewer.cameras._draw()


def _nearest_chair(viewer: Page) -> int:
    """The thing with the most Gaussians among those called chair, else among all."""
    rows = [row for row in viewer.session.table if row.category.isthing]
    rows = [row for row in rows if "chair" in row.name] or rows
    return rows[int(np.argmax([row.count for row in rows]))].id


PICTURES: dict[str, tuple[Callable[[Page], None], str]] = {
    "colour": (_mode("colour"), "Look"),
    "panoptic": (_mode("panoptic"), "Look"),
    "category": (_mode("category"), "Look"),
    "confidence": (_mode("confidence"), "Look"),
    "selected": (_selected, "Look"),
    "isolated": (_isolated, "Look"),
    "edit": (_edited, "Edit"),
    "cameras": (_cameras, "Cameras"),
}

if __name__ == "__main__":
    tyro.cli(ViewerPictures).run()
