# SPDX-License-Identifier: Apache-2.0
"""A shared page in a real headless Chromium, opened from disk: it draws, picks, and fetches nothing."""

import io
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from small_rooms import CENTERS, FAR, FLOOR, NASTY, NASTY_NAME, NEAR, small_room

from panoptic_gs.objects.picking import pick
from panoptic_gs.share import page as share_page
from panoptic_gs.share import shared_scene, write_page
from panoptic_gs.uplift import GaussianLabels

playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
PATIENCE = 30_000
SWITCHES = "--no-sandbox --use-angle=swiftshader --enable-unsafe-swiftshader --disable-background-networking"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("share") / "a room.html"
    write_page(path, shared_scene(small_room(), "A <room>"))
    return path


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as api:
        running = api.chromium.launch(executable_path=CHROMIUM, args=SWITCHES.split())
        yield running
        running.close()


@pytest.fixture
def page(browser, file, request):
    """The open page; at the end nothing was on the console and nothing was fetched."""
    width, height = getattr(request, "param", (720, 640))
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    said, fetched = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: fetched.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-state=ready], html[data-state=failed]")
    assert page.locator("#status").inner_text() in ("", "Loading …")
    yield page
    # Software WebGL says that reading pixels is slow; the page reads one, to know that it is drawn.
    assert [text for text in said if "ReadPixels" not in text] == []
    assert [url for url in fetched if not url.startswith(("data:", "blob:"))] == [file.as_uri()]
    context.close()


def at(page, point):
    """Where a point of the world is on the page."""
    middle = np.median(small_room().splats.means.numpy(), axis=0)
    here = ((np.asarray(point) - middle) * [1, -1, -1]).tolist()
    return page.evaluate(
        """(point) => {
          view.camera.updateMatrixWorld();
          const p = view.inWorld(point).project(view.camera), box = view.renderer.domElement.getBoundingClientRect();
          return [box.left + (0.5 + 0.5 * p.x) * box.width, box.top + (0.5 - 0.5 * p.y) * box.height];
        }""",
        here,
    )


def color(page, point):
    x, y = at(page, point)
    shot = page.screenshot(clip={"x": x - 3, "y": y - 3, "width": 6, "height": 6})
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), dtype=float).mean((0, 1))


def row(page, segment_id):
    return page.locator(f'.ol-row[data-id="{segment_id}"]')


def settle(page):
    page.evaluate("() => view.drawn()")


@pytest.mark.parametrize("page", [(1400, 900), (400, 760)], ids=["wide", "narrow"], indirect=True)
def test_it_draws_a_click_selects_and_isolate_hides_the_rest(page):
    assert page.evaluate("globalThis.hacked") is None
    assert page.locator("h1").inner_text() == "A <room>"
    assert page.locator("#counts").inner_text().startswith("3 objects, 1 stuff class ")
    page.keyboard.press("c")
    settle(page)
    for number, center in enumerate(CENTERS.values()):
        assert color(page, center).argmax() == number  # the cubes are red, green and blue
    page.mouse.click(*at(page, CENTERS[NEAR]))
    page.wait_for_selector(f'.ol-row[data-id="{NEAR}"][aria-current="true"]')
    assert "600 Gaussians" in page.locator("#selected").inner_text()
    settle(page)  # the label follows with the next picture
    assert page.locator("#label").inner_text() == f"chair · {NEAR}"
    page.keyboard.press("i")
    settle(page)
    assert color(page, CENTERS[NEAR])[0] > 120
    assert color(page, CENTERS[FAR]).max() < 60
    assert row(page, FAR).get_attribute("class") == "ol-row ol-off"
    page.locator("#all").click()
    page.keyboard.press("Escape")
    settle(page)
    assert color(page, CENTERS[FAR]).argmax() == 1
    row(page, NASTY).locator(".ol-pick").click()
    assert NASTY_NAME in page.locator("#selected").inner_text()
    row(page, NASTY).locator(".ol-eye").click()
    settle(page)
    assert color(page, CENTERS[NASTY])[2] < 130  # the floor behind it
    page.locator("input[type=search]").fill("chair 9")
    assert page.locator(".ol-row").count() == 1
    page.locator("input[type=search]").fill("no such thing")
    assert page.locator(".ol-list").inner_text() == "Nothing fits."
    assert page.evaluate("globalThis.hacked") is None
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_rays_meet_what_the_viewer_picks(page):
    scene = small_room()
    best, _ = scene.labels.best()
    rows = torch.arange(len(best) + 1)  # the page knows the strongest label alone
    labels = GaussianLabels(rows, best.int(), torch.ones(len(best)), scene.labels.total, scene.labels.void)
    middle = np.median(scene.splats.means.numpy(), axis=0)
    rng = np.random.default_rng(3)
    agree, seen = 0, set()
    for _ in range(60):
        eye = rng.uniform([-3, -3, 0.5], [3, 3, 2.5])
        target = rng.uniform([-1.4, -1, 0], [1.4, 1.6, 0.6])
        way = (target - eye) / np.linalg.norm(target - eye)
        wanted = pick(scene.splats, labels, eye, way, np.radians(60), 500)
        found = page.evaluate(
            """([origin, direction]) => {
              const met = Rays.alongRay(view.gaussians, origin, direction, view.pixel(500), () => false);
              const first = Rays.firstObject(met);
              return first && first.object >= 0 ? scene.objects[first.object].id : 0;
            }""",
            [((eye - middle) * [1, -1, -1]).tolist(), (way * [1, -1, -1]).tolist()],
        )
        agree += found == wanted
        seen.add(found)
    assert seen == {0, FLOOR, NEAR, FAR, NASTY}
    assert agree >= 56  # pick() looks some pixels around, a ray does not


def test_go_to_finds_a_side_from_which_it_is_seen(page):
    row(page, FAR).locator(".ol-pick").click()
    page.get_by_role("button", name="Go to").click()
    page.wait_for_timeout(600)
    settle(page)
    stage = page.locator("#stage").bounding_box()
    middle = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2
    number = page.evaluate("([x, y]) => view.pick(x, y)", list(middle))
    assert page.evaluate("(number) => scene.objects[number].id", number) == FAR


@pytest.mark.parametrize("slow", [False, True])
def test_a_large_scene_is_there_coarsely_before_all_of_it(browser, tmp_path, monkeypatch, slow):
    """Large is what has more than 1,000 Gaussians here, slow what takes longer than no time, or than an hour."""
    changes = {
        "above: 100000, splats: 60000": "above: 1000, splats: 1000",
        "SLOW = 250": "SLOW = -1" if slow else "SLOW = 3600000",
    }
    unchanged = share_page._text

    def text(file):
        content = unchanged(file)
        for old, new in changes.items():
            content = content.replace(old, new)
        return content

    monkeypatch.setattr(share_page, "_text", text)
    write_page(tmp_path / "large.html", shared_scene(small_room(), "large"))
    page = browser.new_page(viewport={"width": 720, "height": 640})
    page.set_default_timeout(PATIENCE)
    try:
        page.goto((tmp_path / "large.html").as_uri())
        page.wait_for_selector("html[data-detail]")
        button = page.locator("#fine")
        if slow:
            assert page.locator("html").get_attribute("data-detail") == "coarse"
            assert 850 <= page.evaluate("view.spark.activeSplats") < 1000  # one in four of 3,400
            page.keyboard.press("c")
            settle(page)
            assert color(page, CENTERS[FAR]).argmax() == 1  # the cubes have no holes
            button.click()
            playwright.expect(button).to_have_attribute("aria-pressed", "true")
            settle(page)
        else:
            assert page.locator("html").get_attribute("data-detail") == "all"
            playwright.expect(button).to_be_hidden()
        for _ in range(200):
            if page.evaluate("view.spark.activeSplats") == 3400:
                break
            page.wait_for_timeout(100)
        assert page.evaluate("view.spark.activeSplats") == 3400
    finally:
        page.close()
