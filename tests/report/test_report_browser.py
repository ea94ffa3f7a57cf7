# SPDX-License-Identifier: Apache-2.0
"""The report in a real headless Chromium, opened from disk: it answers, fetches nothing and runs no foreign script."""

import io
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_room import FIRST, NASTY, NASTY_NAME, SECOND

from panoptic_gs.cli.main import main
from panoptic_gs.report.page import write_report
from panoptic_gs.report.scene_report import ReportOptions, make_report
from panoptic_gs.report.training_log import TrainingLog
from panoptic_gs.uplift import load_labelled_scene, save_labelled_scene

playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
PATIENCE = 30_000


@pytest.fixture(scope="module")
def file(report_room, tmp_path_factory) -> Path:
    labelled, scene = report_room
    log = TrainingLog({"seed": 1})
    for step in range(50):
        log.add(step, {"loss": 1 / (step + 1), "main_loss": 0.5 / (step + 1), "psnr": 20 + 0.1 * step,
                       "gaussian_count": 1000 + step})  # fmt: skip
    report = make_report(labelled, ReportOptions(data=scene), [f"panoptic-gs report '{NASTY_NAME}'"])
    path = tmp_path_factory.mktemp("page") / "report with spaces.html"
    write_report(path, replace(report, title=NASTY_NAME, training=log, facts={NASTY_NAME: NASTY_NAME}))
    return path


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as api:
        running = api.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


@pytest.fixture
def page(browser, file):
    """The open report; at the end no message was on the console and nothing was fetched."""
    context = browser.new_context(viewport={"width": 1000, "height": 700})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    said: list[str] = []
    fetched: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: fetched.append(request.url))
    page.goto(file.as_uri())
    yield page
    assert said == []
    assert [url for url in fetched if not url.startswith("data:")] == [file.as_uri()]
    context.close()


def test_names_from_files_are_text(page):
    assert page.evaluate("globalThis.hacked") is None
    assert page.locator("h1").inner_text() == NASTY_NAME
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("#objects tbody tr", has_text=NASTY_NAME).count() == 1
    assert NASTY_NAME in page.locator("pre").inner_text()
    assert page.locator("#confusion thead th", has_text=NASTY_NAME).count() == 1
    assert page.evaluate("Object.values(JSON.parse(document.getElementById('names').textContent).panoptic)").count(
        f"{NASTY_NAME} · {NASTY}"
    )


def shown(page, side: str) -> str:
    """Which picture of the first view is on a side, and where it begins: what is drawn, not what is marked."""
    return page.evaluate(
        """side => [...document.querySelectorAll(".view:first-child img")]
             .map((image) => [image, getComputedStyle(image)])
             .filter(([, style]) => style.visibility === "visible" && (style.clipPath === "none") === (side === "left"))
             .map(([image, style]) => `${image.className} ${style.clipPath}`).join()""",
        side,
    )


def bring_into_view(part):
    """Scroll there and wait until the page knows; a scroll event that came late would hide what the pointer shows."""
    part.scroll_into_view_if_needed()
    part.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def test_the_slider_moves_by_keyboard_and_pointer(page):
    slider = page.locator(".view input").first
    assert shown(page, "right") == "panoptic inset(0px 0px 0px 50%)"
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert shown(page, "right") == "panoptic inset(0px 0px 0px 55%)"
    bring_into_view(slider)
    box = slider.bounding_box()
    page.mouse.move(box["x"] + 0.55 * box["width"], box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 40, steps=4)
    page.mouse.up()
    assert abs(int(slider.input_value()) - 20) <= 1
    second = page.locator(".view").nth(1).locator("input")
    assert second.input_value() == "50", "each view has its own"


def test_any_two_pictures_are_compared(page):
    assert shown(page, "left") == "photo none"
    page.locator("[data-side=right] button", has_text="errors").click()
    assert shown(page, "right").startswith("errors ")
    page.locator("[data-side=left] button", has_text="errors").click()
    assert (shown(page, "left"), shown(page, "right").split()[0]) == ("errors none", "photo"), "they change places"


def test_the_pointer_reads_names_off_the_picture(page):
    stage = page.locator(".stage").first
    bring_into_view(stage)
    box = stage.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.9 * box["height"])
    under = page.locator(".view .under").first
    playwright.expect(under).to_have_text("floor · 1 (truth: floor · 2)")
    page.mouse.move(box["x"] + 2, box["y"] + 0.3 * box["height"])
    playwright.expect(under).to_have_text("no label (truth: void)")


def test_the_table_sorts_by_every_column(page):
    def column(number: int) -> list[str]:
        return page.locator(f"#objects tbody tr > :nth-child({number})").all_inner_texts()

    heads = page.locator("#objects thead th")
    names = [text.strip().split("\n")[0] for text in heads.all_inner_texts()]
    gaussians = names.index("Gaussians") + 1
    page.locator("#objects .sort", has_text="Gaussians").click()
    assert column(gaussians) == ["576", "400", "350", "300"]
    assert heads.nth(gaussians - 1).get_attribute("aria-sort") == "descending"
    page.locator("#objects .sort", has_text="Gaussians").click()
    assert column(gaussians) == ["300", "350", "400", "576"]
    page.locator("#objects .sort", has_text="object").click()
    assert [text.split()[-1] for text in column(1)][1:] == [str(FIRST), str(SECOND), "1"]
    assert heads.nth(gaussians - 1).get_attribute("aria-sort") == "none"
    page.locator("#objects .sort", has_text="size").focus()
    page.keyboard.press("Enter")
    assert column(1)[-1].split() == ["floor", "1"], "a flat floor has the least volume"


def test_numbers_explain_themselves(page):
    cell = page.locator("#confusion td.wrong").first
    bring_into_view(cell)
    cell.hover()
    tip = page.locator("#tip")
    playwright.expect(tip).to_contain_text("table → chair: 100.0% of table")
    chart = page.locator(".chart").nth(1)
    bring_into_view(chart)
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 20, box["y"] + 60)
    playwright.expect(tip).to_have_text(re.compile(r"^step (49|50)\b"))
    page.mouse.move(2, 2)
    playwright.expect(tip).to_be_hidden()


def test_scores_explain_themselves(page):
    head = page.locator("#scores thead th", has_text="SQ")
    bring_into_view(head)
    head.hover()
    playwright.expect(page.locator("#tip")).to_contain_text("mean IoU of the segments that were found")
    page.locator("#scores .glossary summary").click()
    assert page.locator("#scores .glossary dt").all_inner_texts()[:4] == ["PQ", "SQ", "RQ", "PQ things"]
    assert "what published tables print" in page.locator("#scores .glossary").inner_text()


def test_a_view_opens_large_and_the_worst_are_linked(page):
    small = page.locator(".view").first.bounding_box()
    order = page.locator(".view strong").all_inner_texts()
    page.locator(".enlarge").first.click()
    large = page.locator("#large .view")
    assert large.bounding_box()["width"] > 1.5 * small["width"]
    assert large.locator("strong").inner_text() == order[0]
    page.keyboard.press("ArrowRight")
    assert page.locator("#large .view strong").inner_text() == order[1]
    closing = page.get_by_role("button", name=f"Close: view {order[1]}")
    playwright.expect(closing).to_have_text("✕")
    assert page.locator(".grid .enlarge").all_inner_texts() == ["⤢"] * (len(order) - 1)
    page.keyboard.press("Escape")
    playwright.expect(page.locator("#large")).to_be_hidden()
    playwright.expect(page.locator(".grid .view strong")).to_have_text(order)  # put back by an event after the closing
    for link in page.locator(".worst a").all():
        assert page.locator(link.get_attribute("href")).count() == 1


def test_a_long_table_of_objects_shows_that_it_goes_on(page):
    """Its lower edge is darker until its end is reached."""
    table = page.locator("#objects .scroll")
    table.evaluate("table => { table.style.maxHeight = '110px'; }")

    def edge() -> float:
        table.scroll_into_view_if_needed()
        picture = np.asarray(Image.open(io.BytesIO(table.screenshot())).convert("L"), dtype=float)
        return float(picture[-4:-2, 100:-100].mean())

    before = edge()
    table.evaluate("table => { table.scrollTop = table.scrollHeight; }")
    assert edge() > before + 20


def test_two_scenes_are_compared_in_one_page(browser, report_room, tmp_path):
    """B has two objects taken for one another, A has none."""
    labelled, scene = report_room
    opened = load_labelled_scene(labelled)
    segments = [replace(s, category_id=4) if s.id == FIRST else s for s in opened.segments]
    save_labelled_scene(tmp_path / "b", opened.splats, opened.labels, opened.labelling.with_segments(segments))
    out = tmp_path / "cmp.html"
    main(["report", str(labelled), str(tmp_path / "b"), "--data", str(scene), "--out", str(out), "-q"])
    context = browser.new_context(viewport={"width": 380, "height": 700})
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(out.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 380
    a, b = (make_report(folder, ReportOptions(data=scene)) for folder in (labelled, tmp_path / "b"))
    pq = [100 * r.evaluation.scores["strict"].panoptic.pq for r in (a, b)]
    assert pq[0] > pq[1]
    row = page.locator("#scores tbody tr", has_text="strict").first.locator("td, th").all_inner_texts()
    assert row == ["PQ", "strict", f"{pq[0]:.1f}", f"{pq[1]:.1f}", f"{pq[1] - pq[0]:+.1f}"]
    assert page.locator("#scores td.worse").count() > 0
    assert shown(page, "left").startswith("A-errors")
    assert shown(page, "right").startswith("B-errors")
    page.locator("[data-side=left] button", has_text="B-panoptic").click()
    assert shown(page, "left") == "B-panoptic none"
    stage = page.locator(".stage").first
    bring_into_view(stage)
    box = stage.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.9 * box["height"])
    playwright.expect(page.locator(".view .under").first).to_have_text("A: floor · 1, B: floor · 1 (truth: floor · 2)")
    assert page.evaluate("globalThis.hacked") is None
    assert said == []
    context.close()


def test_light_and_dark(page):
    def background() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light = background()
    page.locator("#theme").click()
    dark = background()
    assert dark != light
    page.locator("#theme").click()
    assert background() == light


def test_a_phone_needs_no_sideways_scrolling_and_drags_the_slider(browser, file):
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    slider = page.locator(".view input").first
    bring_into_view(slider)
    box = slider.bounding_box()
    page.touchscreen.tap(box["x"] + 0.75 * box["width"], box["y"] + 50)
    assert abs(int(slider.input_value()) - 75) <= 1
    context.close()
