# SPDX-License-Identifier: Apache-2.0
"""Make the pictures of docs/viewer.md and docs/sharing.md: python docs/viewer_pictures.py LABELLED SCENE.

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
from typing import Any

import numpy as np
import tyro
from PIL import Image
from tyro.conf import Positional

from panoptic_gs.cli.share import Share
from panoptic_gs.errors import InputError
from panoptic_gs.objects.orientation import first_standpoint
from panoptic_gs.viewer.outlines import screen_camera
from panoptic_gs.viewer.page import Page
from panoptic_gs.viewer.start import start_viewer

IMAGES = Path(__file__).parent / "images"
NARROW = {"width": 980, "height": 600}
WIDE = {"width": 1400, "height": 800}
PHONE = {"width": 400, "height": 700}
WITH_LIST = ("list", "photo", "doubts", "lasso")
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
                profile, executable_path=self.chromium, args=SWITCHES.split(), viewport=NARROW
            )
            for name, (prepare, tab) in PICTURES.items():
                if self.only and name not in self.only:
                    continue
                if name == "share":
                    self._share(context)
                    continue
                prepare(viewer)
                viewer.refresh()
                # A fresh page each time, since viser lowers the resolution of one that draws slowly.
                page = context.new_page()
                page.set_default_timeout(120_000)
                if name in WITH_LIST:
                    page.set_viewport_size(WIDE)
                if name == "phone":
                    page.set_viewport_size(PHONE)
                page.goto(url)
                page.get_by_text(tab, exact=True).evaluate("tab => tab.closest('button').click()")
                time.sleep(self.patience)
                if name == "photo":
                    page.keyboard.press("p")
                    page.locator("#op-photo[open]").wait_for()
                if name == "doubts":
                    page.get_by_role("button", name="Doubts").click()
                    page.get_by_role("button", name="Look for doubts").click()
                    page.get_by_role("button", name="Look again").wait_for()
                if name == "lasso":
                    _draw_around(viewer, page)
                self._take(page, f"viewer-{name}")
            context.close()
        viewer.close()

    def _share(self, context: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "page.html"
            Share(self.labelled, file, data=self.scene, quiet=True).run()
            page = context.new_page()
            page.set_default_timeout(120_000)
            page.set_viewport_size(WIDE)
            page.goto(file.as_uri())
            page.wait_for_selector("html[data-state=ready]")
            time.sleep(self.patience)
            self._take(page, "share")

    def _take(self, page: Any, name: str) -> None:
        file = IMAGES / f"{name}.png"
        page.screenshot(path=file, timeout=120_000)
        page.close()
        with Image.open(file) as image:
            image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)
        print(f"{file} ({file.stat().st_size // 1024} KB)")


def _mode(mode: str) -> Callable[[Page], None]:
    def prepare(viewer: Page) -> None:
        viewer.edit._let_go()
        look = viewer.session.look
        look.color_by, look.selected, look.min_confidence = mode, 0, 0.0  # pyright: ignore[reportAttributeAccessIssue]
        viewer.session.show_all()
        viewer._mode.value = mode
        viewer.cameras._show.value = False
        viewer.cameras._draw()

    return prepare


def _selected(viewer: Page) -> None:
    _mode("colour")(viewer)
    viewer.session.select(_nearest_chair(viewer))


def _draw_around(viewer: Page, page: Any) -> None:
    """Begin an outline around the upper half of the selected object, and do not end it."""
    page.locator('#op button[data-how="cut"]').click()
    page.get_by_role("button", name="Lasso").click()
    page.locator("#op-lasso.op-on").wait_for()
    box = viewer.session.table.box(viewer.session.look.selected, viewer.up)
    if box is None:
        return
    camera = next(iter(viewer.server.get_clients().values())).camera
    screen = page.locator("#op-lasso").bounding_box()
    size = round(screen["width"]), round(screen["height"])
    lens = screen_camera(np.array(camera.wxyz, float), np.array(camera.position, float), float(camera.fov), size)
    local = (lens.viewmat.double().numpy() @ np.append(box.center + 0.25 * box.size[2] * viewer.up, 1.0))[:3]
    x, y = (lens.K.double().numpy() @ local)[:2] / local[2] + [screen["x"], screen["y"]]
    reach = 0.45 * box.size[2] * float(lens.K[1, 1]) / local[2]
    page.mouse.move(x + reach, y)
    page.mouse.down()
    for angle in np.linspace(0, 1.9 * np.pi, 40):
        out = reach * (1 + 0.06 * np.sin(3 * angle))
        page.mouse.move(x + out * np.cos(angle), y + 0.8 * out * np.sin(angle))


def _isolated(viewer: Page) -> None:
    _mode("panoptic")(viewer)
    viewer.session.show_only({row.id for row in viewer.session.table.certain if row.category.isthing})


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
    "list": (_selected, "Look"),
    "photo": (_selected, "Look"),
    "lasso": (_selected, "Look"),
    "doubts": (_mode("panoptic"), "Look"),
    "phone": (_mode("panoptic"), "Look"),
    "share": (_mode("panoptic"), ""),
}

if __name__ == "__main__":
    tyro.cli(ViewerPictures).run()
