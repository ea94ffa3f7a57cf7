# SPDX-License-Identifier: Apache-2.0
"""The page in a real headless Chromium: it draws, a click selects, hide hides, an edit survives."""

import io
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_rooms import CENTERS, FAR, NASTY, NEAR, save, save_mesh, small_mesh, small_room

viser = pytest.importorskip("viser")
viser_transforms = pytest.importorskip("viser.transforms")
playwright = pytest.importorskip("playwright.sync_api")

from panoptic_gs.viewer.start import start_viewer  # noqa: E402 (needs viser)

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium")

WIDTH, HEIGHT = 820, 440
PATIENCE = 30.0
"""Seconds; software WebGL on a busy machine is slow."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    switches = (
        "--no-sandbox --use-angle=swiftshader --enable-unsafe-swiftshader --disable-quic --no-first-run "
        "--disable-background-networking --disable-component-update --disable-sync"
    )
    with playwright.sync_playwright() as api:
        context = api.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")), executable_path=CHROMIUM, headless=True, args=switches.split(),
            viewport={"width": WIDTH, "height": HEIGHT},
        )  # fmt: skip
        yield context
        context.close()


class Visit:
    """A viewer of the small room and a page that looks at it."""

    def __init__(self, browser, folder: Path, mesh: Path | None = None) -> None:
        self.viewer, self.url = start_viewer(folder, port=0, mesh=mesh)
        self.page = browser.new_page()
        self.page.set_default_timeout(1000 * PATIENCE)
        self.errors: list[str] = []
        self.requested: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", self._hear)
        self.page.on("request", lambda request: self.requested.append(request.url))

    def _hear(self, message) -> None:
        """Warnings and errors count; what three.js says of its own future, and software WebGL of its speed, do not."""
        if message.type in ("error", "warning") and not any(w in message.text for w in ("deprecated", "ReadPixels")):
            self.errors.append(message.text)

    def open(self) -> "Visit":
        self.page.goto(self.url)
        self.page.wait_for_selector("canvas")
        self.page.get_by_text("Objects", exact=True).wait_for()
        self.until(lambda: bool(self.viewer.server.get_clients()))
        self.until(lambda: np.linalg.norm(self.camera().position - self.viewer.standpoint.eye) < 1e-3)
        return self

    def camera(self):
        return next(iter(self.viewer.server.get_clients().values())).camera

    def until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, "it never happened"
            self.page.wait_for_timeout(50)

    def at(self, point) -> tuple[float, float]:
        """Where a point of the world is on the page."""
        camera = self.camera()
        canvas = self.page.locator("canvas[data-engine]").bounding_box()
        x, y, z = viser_transforms.SO3(np.asarray(camera.wxyz)).as_matrix().T @ (np.asarray(point) - camera.position)
        focal = 0.5 * canvas["height"] / np.tan(0.5 * camera.fov)
        return canvas["x"] + 0.5 * canvas["width"] + focal * x / z, canvas["y"] + 0.5 * canvas["height"] + focal * y / z

    def color(self, point) -> np.ndarray:
        """The mean colour of the page around a point of the world."""
        x, y = self.at(point)
        shot = self.page.screenshot(clip={"x": x - 3, "y": y - 3, "width": 6, "height": 6})
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), dtype=float).mean((0, 1))

    def close(self) -> None:
        self.page.close()
        self.viewer.close()


@pytest.fixture
def folder(tmp_path):
    save(small_room(), tmp_path / "room")
    return tmp_path / "room"


@pytest.fixture
def visit(browser, folder):
    visit = Visit(browser, folder)
    visit.viewer.session.look.color_by = "colour"
    visit.viewer.refresh()
    yield visit.open()
    visit.close()


def test_splats_draw_a_click_selects_and_hide_hides(visit):
    visit.until(lambda: visit.color(CENTERS[NEAR])[0] > 120)  # the cubes are red, green and blue
    visit.until(lambda: visit.color(CENTERS[NASTY]).argmax() == 2)
    background = visit.page.screenshot(clip={"x": 2, "y": 2, "width": 4, "height": 4})
    assert np.asarray(Image.open(io.BytesIO(background)).convert("RGB")).max() < 60

    look = visit.viewer.session.look
    visit.page.mouse.click(*visit.at(CENTERS[NEAR]))
    visit.until(lambda: look.selected == NEAR)
    visit.page.get_by_text("600 Gaussians").wait_for()
    assert visit.page.get_by_text("size 0.6").is_visible()

    visit.page.get_by_role("button", name="Hide", exact=True).first.click()
    visit.until(lambda: look.hidden == {NEAR})
    visit.until(lambda: visit.color(CENTERS[NEAR])[0] < 100)

    visit.page.mouse.click(*visit.at(CENTERS[NASTY]))
    visit.until(lambda: look.selected == NASTY)
    visit.page.get_by_text("globalThis.hacked").first.wait_for()
    assert visit.page.evaluate("globalThis.hacked") is None
    assert visit.errors == []
    assert [url for url in visit.requested if not url.startswith((visit.url, "data:", "blob:"))] == []


def test_an_edit_survives_saving_and_a_new_start(visit, browser, folder):
    visit.viewer.session.select(FAR)
    visit.viewer.refresh()
    page = visit.page
    page.get_by_text("Edit", exact=True).click()
    field = page.locator("input.mantine-TextInput-input:visible")
    field.fill("Ann's chair")
    visit.until(lambda: visit.viewer.edit._name.value == "Ann's chair")
    page.get_by_role("button", name="Rename").click()
    visit.until(lambda: visit.viewer.session.table[FAR].name == "Ann's chair")
    page.get_by_text("Ann's chair").filter(visible=True).first.wait_for()
    page.get_by_role("button", name="Save").click()
    visit.until(lambda: not visit.viewer.session.history.unsaved)

    again = Visit(browser, folder / "edited").open()
    try:
        again.page.locator("#op-toggle").click()
        again.page.get_by_text("Ann's chair · 9").first.wait_for()
    finally:
        again.close()
    assert "Ann" not in (folder / "segments.json").read_text()


def test_one_works_in_the_list_of_objects(visit):
    page, look, session = visit.page, visit.viewer.session.look, visit.viewer.session
    page.locator("#op-toggle").click()
    row = lambda number: page.locator(f'.ol-row[data-id="{number}"]')
    row(NEAR).wait_for()
    assert page.locator(".ol-row").count() == 4
    assert page.locator("#op summary").all_inner_texts() == ["THINGS · 3", "STUFF · 1"]
    visit.until(lambda: "0.6" in row(NEAR).locator(".ol-more").inner_text())  # its box

    row(NEAR).locator(".ol-pick").click()
    visit.until(lambda: look.selected == NEAR)
    row(FAR).locator(".ol-eye").click()
    visit.until(lambda: look.hidden == {FAR})
    page.locator('.ol-row.ol-off[data-id="9"]').wait_for()
    page.keyboard.press("x")
    visit.until(lambda: look.hidden == set())

    search = page.locator("#op input[type=search]")
    search.fill("count > 1000")
    assert page.locator(".ol-row").all_inner_texts()[0].startswith("floor · 1")
    search.fill("chair confidence < 0.8")
    assert page.locator(".ol-row").count() == 1
    search.fill("")
    page.locator(".ol-finder select").select_option("confidence")
    assert [page.locator(".ol-row").nth(i).get_attribute("data-id") for i in (0, 2)] == [str(FAR), str(NEAR)]
    page.locator(".ol-turn").click()
    assert page.locator(".ol-row").first.get_attribute("data-id") == str(NEAR)

    name = page.get_by_label("Name of the selected object")
    visit.until(lambda: name.input_value() == "chair")
    name.click()
    page.keyboard.press("Enter")  # untouched
    name.fill("<b>throne</b>")
    page.keyboard.press("Enter")
    visit.until(lambda: session.table[NEAR].name == "<b>throne</b>")
    assert session.history.undoable == "rename chair · 7"
    page.keyboard.press("u")
    visit.until(lambda: session.table[NEAR].name == "chair")

    page.get_by_role("button", name="Doubts").click()
    page.get_by_role("button", name="Look for doubts").click()
    visit.until(lambda: visit.viewer.objects.state()["doubts"] is not None)
    page.keyboard.press("?")
    assert page.locator("#op-keys").is_visible()
    page.keyboard.press("Escape")
    visit.until(lambda: not page.locator("#op-keys").is_visible())
    before = np.array(visit.camera().look_at)
    page.keyboard.press("g")
    visit.until(lambda: np.linalg.norm(np.array(visit.camera().look_at) - CENTERS[NEAR]) < 0.2)
    assert np.linalg.norm(before - CENTERS[NEAR]) > 0.2
    assert page.evaluate("globalThis.hacked") is None
    assert visit.errors == []


def test_an_outline_drawn_on_the_picture_cuts(visit):
    page, session = visit.page, visit.viewer.session
    toggle = page.locator("#op-toggle")
    if toggle.get_attribute("aria-expanded") == "false":
        toggle.click()
    page.locator(f'.ol-row[data-id="{NEAR}"] .ol-pick').click()
    visit.until(lambda: session.look.selected == NEAR)
    page.locator('#op button[data-how="cut"]').click()
    page.get_by_role("button", name="Lasso").click()
    page.get_by_label("through").check()
    visit.until(
        lambda: (visit.viewer.brush_use, visit.viewer.brush_lasso, visit.viewer.brush_through) == ("cut", True, True)
    )
    toggle.click()  # the list lies over the left of the scene
    sheet = page.locator("#op-lasso.op-on")
    sheet.wait_for()
    page.get_by_text("Cameras", exact=True).click(trial=True)  # viser's panel lies over the sheet
    before = np.array(visit.camera().position)

    x, y = visit.at(CENTERS[NEAR])
    page.mouse.move(x, y - 150)
    page.mouse.down()
    for to in ((x, y + 150), (x + 150, y + 150), (x + 150, y - 150)):
        page.mouse.move(*to, steps=6)
    visit.until(lambda: page.locator("#op-lasso path").get_attribute("d").endswith("Z"))
    page.mouse.up()
    visit.until(lambda: session.history.undoable == "cut from chair · 7")
    kept = session.table.members(NEAR)
    assert 200 < len(kept) < 400
    columns = [visit.at(point)[0] for point in session.scene.splats.means.numpy()[kept][::20]]
    assert max(columns) < x + 2  # what is to the right of the outline's left edge is gone
    assert np.allclose(before, visit.camera().position)  # the picture stood still
    visit.until(lambda: "less in chair · 7" in (page.locator("#op-say").text_content() or ""))
    assert page.locator("#op-lasso path").get_attribute("d") == ""

    page.keyboard.press("u")
    visit.until(lambda: session.table[NEAR].count == 600)
    page.keyboard.press("Escape")
    visit.until(lambda: visit.viewer.brush_use is None)
    sheet.wait_for(state="hidden")
    page.mouse.click(*visit.at(CENTERS[FAR]))  # the mouse is the scene's again
    visit.until(lambda: session.look.selected == FAR)
    assert visit.errors == []


def test_a_browser_without_webgl_is_told(browser, folder):
    visit = Visit(browser, folder)
    try:
        visit.page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
        visit.page.goto(visit.url)
        assert "WebGL 2" in visit.page.locator("#no-webgl").inner_text()
    finally:
        visit.close()


def test_the_mesh_is_shown_in_place_of_the_splats(browser, folder):
    save_mesh(small_room(), small_mesh(), folder)
    visit = Visit(browser, folder, mesh=folder)
    visit.viewer.session.look.color_by = "colour"
    visit.viewer.refresh()
    visit.open()
    try:
        visit.until(lambda: visit.color(CENTERS[NEAR])[0] > 120)  # red: the splats
        page = visit.page
        page.get_by_label("Show", exact=True).click()
        page.get_by_role("option", name="mesh").click()
        visit.until(lambda: visit.viewer.session.look.shown == "mesh")
        visit.until(lambda: np.ptp(visit.color(CENTERS[NEAR])) < 30 and visit.color(CENTERS[NEAR]).mean() > 40)  # grey
        page.get_by_label("Show", exact=True).click()
        page.get_by_role("option", name="splats").click()
        visit.until(lambda: np.ptp(visit.color(CENTERS[NEAR])) > 100)
        assert not visit.errors
    finally:
        visit.close()


def test_words_find_objects(visit):
    page = visit.page
    toggle = page.get_by_role("button", name="Objects", exact=True)
    search = page.get_by_label("Search objects by name, category or id")
    if not search.is_visible():
        toggle.click()
    search.fill("the chair on the floor")
    search.press("Enter")
    summary = page.locator("summary", has_text="Best for “the chair on the floor” by name")
    playwright.expect(summary).to_be_visible()
    playwright.expect(page.locator(".ol-row")).to_have_count(2)
    search.fill("")
    playwright.expect(summary).to_have_count(0)
    search.fill("left of the door")
    search.press("Enter")
    playwright.expect(page.locator("#op-say")).to_contain_text("Cannot do this")


def test_colours_of_confidence_are_explained_while_the_list_is_shut(visit):
    page, session = visit.page, visit.viewer.session
    legend = page.locator("#op-legend")
    playwright.expect(legend).to_be_hidden()
    session.look.color_by = "confidence"
    visit.viewer.refresh()
    playwright.expect(legend).to_be_visible()
    playwright.expect(legend).to_contain_text("share of its strongest label")
    page.locator("#op-toggle").click()  # the list has one of its own
    playwright.expect(legend).to_be_hidden()
    playwright.expect(page.locator("#op .op-legend")).to_be_visible()


def test_a_phone_shows_the_scene_and_the_list(browser, folder):
    """viser 0.2's page falls over where a narrow one is told to have no share button."""
    visit = Visit(browser, folder)
    try:
        visit.page.set_viewport_size({"width": 400, "height": 700})
        page = visit.open().page
        assert page.locator("canvas").count() >= 1
        by = page.get_by_text("Colour by", exact=True)
        by.wait_for(state="hidden")  # the panel is shut, so that the scene is to be seen
        page.get_by_text("panoptic-gs", exact=True).click()
        by.wait_for()
        page.get_by_text("panoptic-gs", exact=True).click()
        assert not page.locator('button:has(svg[class*="share"])').is_visible()
        page.locator("#op-toggle").click()
        page.locator(f'.ol-row[data-id="{NEAR}"] .ol-pick').click()
        visit.until(lambda: visit.viewer.session.look.selected == NEAR)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.get_by_role("button", name="Go there").click()  # the list makes way for what it is asked to show
        page.locator("#op.op-shut").wait_for(state="attached")
        page.locator("#op-toggle").click()
        page.get_by_role("button", name="Measure").click()
        page.locator("#op.op-shut").wait_for(state="attached")
        page.get_by_text("Click one end in the scene.").locator("visible=true").wait_for()
        assert visit.errors == []
    finally:
        visit.close()


@pytest.mark.skipif(hasattr(viser.SceneApi, "add_gaussian_splats"), reason="viser 0.2 only")
def test_other_colours_keep_the_scene_that_is_drawn(browser, folder):
    """viser makes texture and sorter anew for what it is sent, and draws nothing until it is sorted."""
    visit = Visit(browser, folder)
    try:
        visit.page.add_init_script(
            "globalThis.workers = [];"
            "globalThis.Worker = class extends Worker { constructor(...how) { super(...how); workers.push(how[0]); } };"
        )
        visit.open()
        session = visit.viewer.session
        session.look.color_by = "colour"
        visit.viewer.refresh()
        visit.until(lambda: visit.color(CENTERS[NEAR])[0] > 120)
        workers = visit.page.evaluate("workers.length")
        session.select(NASTY)
        session.look.hidden = {FAR}
        visit.viewer.refresh()
        visit.until(lambda: np.ptp(visit.color(CENTERS[NEAR])) < 12)  # all but the selected one are grey
        assert visit.color(CENTERS[NASTY]).argmax() == 2
        visit.page.reload()  # a page that opens late has the colours of now
        visit.until(lambda: len(visit.viewer.server.get_clients()) == 1)
        visit.until(lambda: visit.color(CENTERS[NASTY]).argmax() == 2 and np.ptp(visit.color(CENTERS[NEAR])) < 12)
        assert workers >= 2
        assert visit.page.evaluate("workers.length") <= workers
        assert visit.errors == []
    finally:
        visit.close()


def test_the_end_of_a_drag_is_no_click(visit, monkeypatch):
    """With viser's own clicks no drag would turn the scene, and each would end in a click."""
    mouse, session, picked = visit.page.mouse, visit.viewer.session, []
    pick = session.pick
    monkeypatch.setattr(session, "pick", lambda *ray: picked.append(pick(*ray)) or picked[-1])
    x, y = visit.at(CENTERS[NEAR])
    mouse.move(x - 60, y - 20)
    mouse.down()
    mouse.move(x, y, steps=5)
    mouse.up()
    visit.until(lambda: np.linalg.norm(visit.camera().position - visit.viewer.standpoint.eye) > 1e-3)  # it turned
    mouse.click(*visit.at(CENTERS[NEAR]), button="right")
    visit.page.wait_for_timeout(1000)
    assert picked == []
    mouse.click(*visit.at(CENTERS[NEAR]))
    visit.until(lambda: session.look.selected == NEAR)
    assert picked == [NEAR]


def test_keys_that_are_pressed_fast_all_count(visit):
    look = visit.viewer.session.look
    visit.page.locator("#op-toggle").click()
    visit.page.locator(f'.ol-row[data-id="{NEAR}"] .ol-pick').click()
    visit.page.get_by_label("Name of the selected object").wait_for()
    for key in "cccbb":
        visit.page.keyboard.press(key)
    visit.until(lambda: look.color_by == "category" and visit.viewer.brush_use == "cut")


def test_the_handle_of_an_object_that_is_moved_is_to_be_seen(visit):
    """Its arrows are red, green and blue. viser draws splats over those that are among them."""
    page, viewer = visit.page, visit.viewer
    with viewer.change() as session:
        session.select(NEAR)
    box = viewer.session.table.box(NEAR, viewer.up)
    viewer.edit._take_up("move", NEAR, box)
    page.get_by_text("Edit", exact=True).evaluate("tab => tab.closest('button').click()")
    page.get_by_role("button", name="Put it here").wait_for()
    x, y = visit.at(viewer.edit._handle[2].position)

    def colourful() -> int:
        shot = page.screenshot(clip={"x": x - 45, "y": y - 45, "width": 90, "height": 90})
        pixels = np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), dtype=int)
        return int((pixels[..., 1:].max(axis=2) > pixels[..., 0] + 60).sum())  # the object is red, all else grey

    visit.until(lambda: colourful() > 30)
    viewer.edit._let_go()
    visit.until(lambda: colourful() == 0)
