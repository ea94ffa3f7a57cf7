# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs report``: one HTML file with scores, views, objects and training curves of a scene."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.markup import escape
from tyro.conf import Positional

from panoptic_gs.cli.output import Output
from panoptic_gs.errors import InputError
from panoptic_gs.progress import Progress, progress_bars

if TYPE_CHECKING:
    from panoptic_gs.report.evaluation import Evaluation
    from panoptic_gs.report.scene_report import SceneReport

_PAGE = b"<!doctype html>"


@dataclass(frozen=True)
class Report(Output):
    """Report on a scene in one HTML file that opens anywhere, without a network.

    Renders the held-out views and shows scores in both protocols, bars for each class, the views with a slider between
    photo, rendered colour, panoptic map, truth and errors, a table of the objects, a confusion matrix, the curves of
    the training, and the commands and versions that made it all.
    """

    scene: Positional[Path]
    """A training of panst3r-ludvig (its folder or config.yml), a folder made by 'panoptic-gs uplift' or 'render', or
    COCO panoptic maps (also those in a scene folder). A training one level up or two below is found."""
    other: Positional[Path | None] = None
    """A second scene of the same photos: both are reported side by side, with what became better and worse."""
    data: Path | None = None
    """Scene folder with cameras, photos and truth; by default the one that was trained on."""
    out: Path | None = None
    """HTML file; by default report.html in the folder that is reported on, comparison.html in the second one's."""
    split: str | None = None
    """Views: a split of splits.json, or 'all'; by default 'test' for Gaussians, all that there are for maps."""
    truth: str = "panoptic_gt"
    """Subfolder of the scene folder with the true maps; labels are scored where it is there."""
    max_views: int = 12
    """How many views are shown, evenly spread; all are scored."""
    picture_width: int = 640
    """Width of the pictures in pixels, at most."""
    meters_per_unit: float | None = None
    """Size of the scene's unit, for the sizes of objects; by default what the scene folder says, else 1."""
    rasterize_mode: Literal["classic", "antialiased"] | None = None
    """How the splats were trained; by default as the training says, else classic."""
    training: Path | None = None
    """For labelled splats: the nerfstudio run that they are from, for its curves and the views that it held out."""
    mesh: Path | None = None
    """Folder made by 'panoptic-gs mesh' of this scene: each view shows it, too."""

    def run(self) -> None:
        console = self.console()
        if self.other is not None:
            self._compare(console)
            return
        with progress_bars(console) as progress:
            out, evaluation = self.write(console, progress)
        scores = {name: score.as_dict() for name, score in evaluation.scores.items()}
        self.finish([out], views=evaluation.num_views, scores=scores, images=dict(evaluation.metrics))

    def write(self, console: Console, progress: Progress) -> tuple[Path, Evaluation]:
        """Write the report and print its scores; the file, and what was scored."""
        from panoptic_gs.report.page import write_report

        source = self._found(self.scene, console)
        folder = source if source.is_dir() else source.parent
        out = self.out or folder / "report.html"
        self._check_arguments(out)
        report = self._made(source, progress)
        write_report(out, report)
        console.print(_summary(report.evaluation), markup=False)
        console.print(f"Written: [bold]{escape(str(out))}[/] ({out.stat().st_size / 1e6:.1f} MB)")
        return out, report.evaluation

    def _compare(self, console: Console) -> None:
        from panoptic_gs.report.comparison import write_comparison

        assert self.other is not None
        sources = [self._found(path, console) for path in (self.scene, self.other)]
        folder = sources[1] if sources[1].is_dir() else sources[1].parent
        out = self.out or folder / "comparison.html"
        self._check_arguments(out)
        with progress_bars(console) as progress:
            reports = [self._made(source, progress) for source in sources]
        write_comparison(out, *reports)
        for side, report in zip("AB", reports):
            console.print(f"{side}: {_summary(report.evaluation)}", markup=False)
        console.print(f"Written: [bold]{escape(str(out))}[/] ({out.stat().st_size / 1e6:.1f} MB)")
        scores = [{name: score.as_dict() for name, score in r.evaluation.scores.items()} for r in reports]
        self.finish([out], views=[r.evaluation.num_views for r in reports], scores=scores,
                    images=[dict(r.evaluation.metrics) for r in reports])  # fmt: skip

    def _found(self, scene: Path, console: Console) -> Path:
        from panoptic_gs.report.scene_report import find_source

        source = find_source(scene)
        if source != scene:
            console.print(f"Reporting on [bold]{escape(str(source))}[/]")
        return source

    def _made(self, source: Path, progress: Progress) -> SceneReport:
        from panoptic_gs.report.environment import command_line
        from panoptic_gs.report.scene_report import ReportOptions, make_report

        options = ReportOptions(self.data, self.split, self.truth, self.rasterize_mode, self.meters_per_unit,
                                self.max_views, self.picture_width, self.training, self.other is not None,
                                self.mesh)  # fmt: skip
        return make_report(source, options, [command_line()], progress)

    def _check_arguments(self, out: Path) -> None:
        if self.mesh is not None and self.other is not None:
            raise InputError("--mesh", "two scenes", "one, with its mesh", "Report on each by itself.")
        if self.max_views < 0:
            raise InputError("--max-views", str(self.max_views), "0 or more", "Choose a larger number.")
        if self.picture_width < 16:
            raise InputError("--picture-width", str(self.picture_width), "at least 16 pixels", "Choose a larger one.")
        if self.meters_per_unit is not None and not self.meters_per_unit > 0:
            raise InputError("--meters-per-unit", str(self.meters_per_unit), "a positive length", "Correct it.")
        if out.is_dir():
            raise InputError("--out", f"{out}, a folder", "an HTML file", f"Say {out / 'report.html'}.")
        if out.is_file() and not out.read_bytes().startswith(_PAGE):
            raise InputError("--out", f"{out}, which is no report", "a new file or an earlier report",
                             "Choose another file.")  # fmt: skip


def _summary(evaluation: Evaluation) -> str:
    numbers = [f"PQ {100 * score.panoptic.pq:.1f} {name}" for name, score in evaluation.scores.items()]
    if "psnr" in evaluation.metrics:
        numbers.append(f"PSNR {evaluation.metrics['psnr']:.2f} dB")
    return f"{evaluation.num_views} views" + (f": {', '.join(numbers)}" if numbers else "")
