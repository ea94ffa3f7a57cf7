# SPDX-License-Identifier: Apache-2.0
"""``panoptic-gs view``: a labelled scene in the browser."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.markup import escape
from tyro.conf import Positional

from panoptic_gs.cli.output import Output


@dataclass(frozen=True)
class View(Output):
    """Look at a labelled scene in the browser: click its objects, filter, recolour, and mend its labels.

    The page is served to this machine only. Over ssh, forward the port: ssh -L 8080:127.0.0.1:8080 MACHINE. Edits are
    saved as a new labelled scene inside the scene's folder; the original stays as it is.
    """

    scene: Positional[Path]
    """Folder made by 'panoptic-gs uplift', or config.yml of a panst3r-ludvig training."""
    data: Path | None = None
    """The scene folder with its photos, to show cameras, photos and predicted maps, and for where boxes end; by default
    the one that was trained on."""
    mesh: Path | None = None
    """Folder made by 'panoptic-gs mesh' of this scene, to look at beside the Gaussians; the panel 'Look' switches."""
    out: Path | None = None
    """Where edits are saved: a new folder inside the scene's, by default 'edited'."""
    host: str = "127.0.0.1"
    """Address to listen on. 0.0.0.0 lets everybody in the network see and edit the scene."""
    port: int = 8080
    """Port to listen on."""
    max_gaussians: int | None = None
    """Look at an even sample of this many Gaussians (without edits), for scenes larger than memory."""
    up: Literal["auto", "x", "y", "z", "-x", "-y", "-z"] = "auto"
    """The world's up; 'auto' takes it from the cameras, else from what is called floor, else z."""
    open_browser: Annotated[bool, tyro.conf.arg(name="open")] = True
    """Open the page in this machine's browser."""

    def run(self) -> None:
        import webbrowser

        from panoptic_gs.objects.survey import counted
        from panoptic_gs.viewer.start import start_viewer

        console = self.console()
        with console.status("Opening the scene"):
            page, url = start_viewer(self.scene, self.data, out=self.out, host=self.host, port=self.port,
                                     max_gaussians=self.max_gaussians, up=self.up, mesh=self.mesh,
                                     say=lambda note: console.print(f"[yellow]{escape(note)}"))  # fmt: skip
        session = page.session
        console.print(
            f"{len(session.table.segment_of):,} Gaussians, {counted(session.table)} in "
            f"{escape(str(self.scene))}. Edits are saved in {escape(str(session.out))}."
        )
        console.print(f"[bold]{url}[/]   (Ctrl+C stops)")
        if self.host not in ("127.0.0.1", "localhost", "::1"):
            console.print("[yellow]Anybody who reaches this address can see and edit the scene.[/]")
        if self.quiet and self.json is None:
            print(url, flush=True)
        self.finish(url=url, gaussians=len(session.table.segment_of), objects=len(session.table))
        if self.open_browser:
            webbrowser.open(url)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            if session.history.unsaved:
                kept = session.journal.trouble is None
                console.print(
                    "[yellow]Edits were not saved: "
                    + ("the next viewer of this scene makes them again." if kept else "they are lost.")
                )
        finally:
            page.close()
