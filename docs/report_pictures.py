# SPDX-License-Identifier: Apache-2.0
"""Make the pictures of docs/report.md: python docs/report_pictures.py REPORT.html. Needs playwright and a Chromium."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro
from tyro.conf import Positional

from panoptic_gs.errors import InputError, print_input_error

IMAGES = Path(__file__).parent / "images"
PICTURES = (
    ("report", "header", 1100, 880, "light"),
    ("report-views", "#views", 1100, 880, "light"),
    ("report-phone", "#views", 390, 880, "dark"),
)
"""Name, what is at the top, width, height and colour scheme."""
DIVIDERS = (35, 70, 50, 20, 60, 45)
"""Where the first views' dividers are, in percent."""


@dataclass(frozen=True)
class ReportPictures:
    """Take pictures of a report in a headless Chromium."""

    report: Positional[Path]
    """A page made by 'panoptic-gs report'."""
    chromium: str = shutil.which("chromium") or ""
    """The browser."""

    def run(self) -> None:
        from playwright.sync_api import sync_playwright

        if not self.chromium:
            raise InputError("--chromium", "no chromium", "a Chromium", "Install one, or give its path.")
        if not self.report.is_file():
            raise InputError(self.report, "no such file", "a report", "Make one with 'panoptic-gs report'.")
        with sync_playwright() as api:
            browser = api.chromium.launch(executable_path=self.chromium, args=["--no-sandbox"])
            for name, section, width, height, scheme in PICTURES:
                page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme,
                                        reduced_motion="reduce")  # fmt: skip
                page.goto(self.report.resolve().as_uri())
                for slider, value in zip(page.locator(".view input").all(), DIVIDERS):
                    slider.fill(str(value))
                page.locator(section).evaluate("section => section.scrollIntoView({behavior: 'instant'})")
                path = IMAGES / f"{name}.png"
                page.screenshot(path=path)
                print(path)
            browser.close()


if __name__ == "__main__":
    try:
        tyro.cli(ReportPictures, description=__doc__).run()
    except InputError as error:
        print_input_error(error)
        sys.exit(2)
