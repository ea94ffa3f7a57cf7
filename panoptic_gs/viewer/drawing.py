# SPDX-License-Identifier: Apache-2.0
"""Splats and boxes in viser 0.2 (which nerfstudio 1.1 pins) and in viser 1."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import viser

from panoptic_gs.camera import rotation_from_quaternion
from panoptic_gs.objects.boxes import Box
from panoptic_gs.splats import Splats

_EDGES = np.array([[a, a | 1 << axis] for axis in range(3) for a in range(8) if not a & 1 << axis])  # [12, 2]


class SplatNode:
    """Gaussians in the browser.

    viser 0.2 knows no smaller change than all Gaussians anew, for which a page makes its textures and its sorter anew:
    the scene stays dark meanwhile. So with it Gaussians are sent once, and colours and what is hidden, 4 bytes a
    Gaussian, go to ``paint``, from where the page writes them over those that it has (``page_additions.html``). viser 1
    gets everything anew.

    Args:
        server: the viewer.
        splats: the Gaussians; colours come with each :meth:`draw`.
        paint: takes what :func:`painting` made, or nothing where what was sent last is of other Gaussians.
    """

    def __init__(
        self, server: viser.ViserServer, splats: Splats, paint: Callable[[bytes | None], None] = lambda news: None
    ) -> None:
        self._server: Any = server
        self._paint = paint
        self._version = secrets.randbelow(1 << 27)  # so that a page of an earlier viewer takes none for its own
        self._sent = False
        self._shown: Any = None
        self.take(splats)

    def take(self, splats: Splats) -> None:
        """Draw other Gaussians from now on."""
        self._means = np.ascontiguousarray(splats.means.numpy(), dtype=np.float32)
        self._opacities = (splats.opacities.numpy()[:, None] * 255).round().astype(np.uint8)
        self._covariances = _covariances(splats)
        self._buffer: np.ndarray | None = None
        self._sent = False

    def draw(self, colors: np.ndarray, visible: np.ndarray) -> int:
        """Draw the visible ``[N]`` bool Gaussians in colours ``[N, 3]`` uint8. Gives the bytes that are sent."""
        scene: Any = self._server.scene
        if hasattr(scene, "add_gaussian_splats"):
            self._shown = scene.add_gaussian_splats(
                "/splats",
                centers=self._means[visible],
                covariances=self._covariances[visible],
                rgbs=colors[visible],
                opacities=self._opacities[visible],
            )
            return 32 * int(visible.sum())
        words = np.concatenate([colors, self._opacities * visible[:, None]], axis=1).view(np.uint32)[:, 0]
        if self._sent:
            news = painting(self._version, words)
            self._paint(news)
            return len(news)
        self._paint(None)
        return self._send_to_viser_0_2(words)

    def clear(self) -> None:
        """Draw nothing until the next :meth:`draw`; viser 0.2 draws splats whether their node is visible or not."""
        if self._shown is None:
            return
        self._shown.remove()
        self._shown = None
        self._sent = False
        if not hasattr(self._server.scene, "add_gaussian_splats"):
            self._forget(self._name())

    def _send_to_viser_0_2(self, words: np.ndarray) -> int:
        from viser._messages import GaussianSplatsMessage  # has no public door in 0.2
        from viser._scene_handles import GaussianSplatHandle

        if self._buffer is None:
            self._buffer = np.zeros((len(self._means) + 1, 8), dtype=np.uint32)
            self._buffer[:-1, :3] = self._means.view(np.uint32)
            self._buffer[:-1, 4:7] = _cholesky(self._covariances).astype(np.float16).view(np.uint32)
            self._buffer[-1, :3] = self._buffer[0, :3]
        last = self._name()
        # The page ignores another buffer under a name that it knows, so names take turns.
        self._version += 1
        self._buffer[:-1, 7] = words
        self._buffer[-1, 4:] = _mark(self._version)
        with self._server.atomic():
            message = GaussianSplatsMessage(name=self._name(), buffer=self._buffer.copy())
            self._server.scene._websock_interface.queue_message(message)
            if self._shown is not None:
                self._shown.remove()
                self._forget(last)
            still = (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0), True
            self._shown = GaussianSplatHandle._make(self._server.scene, self._name(), *still)
        self._sent = True
        return self._buffer.nbytes

    def _name(self) -> str:
        return f"/splats/{self._version % 2}"

    def _forget(self, name: str) -> None:
        """Drop splats that are gone from what viser 0.2 sends to pages that open later, which would get them first."""
        sent = self._server._websock_server._broadcast_buffer
        with sent.buffer_lock:
            for number, message in list(sent.message_from_id.items()):
                if type(message).__name__ == "GaussianSplatsMessage" and message.name == name:
                    del sent.message_from_id[number]
                    del sent.id_from_redundancy_key[message.redundancy_key()]


def painting(version: int, words: np.ndarray) -> bytes:
    """Colours for Gaussians that a page has: their version, then red, green, blue and opacity of each, a byte each.

    Args:
        version: of the Gaussians.
        words: ``[N]`` uint32.
    """
    return np.concatenate([np.array([version]), words]).astype("<u4").tobytes()


def _mark(version: int) -> tuple[int, int, int, int]:
    """The last four words of a transparent Gaussian behind all others, by which a page tells the version of what it
    has. Read as halves they are finite, as covariances should be."""
    return version & 0x3FFF, version >> 14, 0x3C003C00, 0


class MeshNode:
    """Triangles with a colour a vertex, or none.

    Args:
        server: the viewer.
        vertices: ``[V, 3]``.
    """

    def __init__(self, server: viser.ViserServer, vertices: np.ndarray) -> None:
        self._scene: Any = server.scene
        self._vertices = vertices
        self._drawn: tuple[np.ndarray, np.ndarray] | None = None
        self._shown: Any = None

    def draw(self, faces_and_colors: tuple[np.ndarray, np.ndarray] | None) -> None:
        """Draw these faces ``[F, 3]`` in vertex colours ``[V, 3]`` uint8; what is drawn already is not sent again."""
        import trimesh
        from trimesh.visual import ColorVisuals

        if faces_and_colors is None or not len(faces_and_colors[0]):
            if self._shown is not None:
                self._shown.remove()
            self._shown = self._drawn = None
            return
        if self._drawn is not None and all(np.array_equal(a, b) for a, b in zip(self._drawn, faces_and_colors)):
            return
        self._drawn = faces, colors = faces_and_colors
        used, number = np.unique(faces, return_inverse=True)
        shape = trimesh.Trimesh(self._vertices[used], number.reshape(-1, 3), process=False)
        shape.visual = ColorVisuals(shape, vertex_colors=colors[used])
        self._shown = self._scene.add_mesh_trimesh("/mesh", shape)


class LineNode:
    """Straight lines, or none.

    Args:
        server: the viewer.
        name: of the scene node.
        color: red, green and blue in 0 … 255.
    """

    def __init__(self, server: viser.ViserServer, name: str, color: tuple[int, int, int]) -> None:
        self._scene: Any = server.scene
        self._name, self._color = name, color
        self._shown: list[Any] = []

    def draw(self, lines: np.ndarray | None) -> None:
        """Draw these lines ``[L, 2, 3]``, from end to end, instead of the last ones."""
        for handle in self._shown:
            handle.remove()
        self._shown = []
        if lines is None:
            return
        lines = lines.astype(np.float32)
        if hasattr(self._scene, "add_line_segments"):
            self._shown = [self._scene.add_line_segments(self._name, lines, self._color)]
            return
        for number, points in enumerate(lines):
            self._shown.append(self._scene.add_spline_catmull_rom(
                f"{self._name}/{number}", points, color=self._color, line_width=2.0, segments=1,
            ))  # fmt: skip


class BoxNode:
    """The edges of a box, or of none.

    Args: as of :class:`LineNode`.
    """

    def __init__(self, server: viser.ViserServer, name: str, color: tuple[int, int, int]) -> None:
        self._lines = LineNode(server, name, color)

    def draw(self, box: Box | None) -> None:
        """Draw this box instead of the last one."""
        self._lines.draw(None if box is None else box.corners()[_EDGES])


def introduce(client: Any) -> None:
    """Tell a page by which number viser knows it, for the list of objects beside the scene."""
    from viser._messages import RunJavascriptMessage  # has no public door

    message = RunJavascriptMessage(source=f"globalThis.panopticClient = {int(client.client_id)};")
    client.gui._websock_interface.queue_message(message)


def _covariances(splats: Splats) -> np.ndarray:
    """``[N, 3, 3]`` float32."""
    axes = rotation_from_quaternion(splats.quats) * splats.scales[:, None, :]
    return torch.einsum("nij,nkj->nik", axes, axes).numpy()


def _cholesky(covariances: np.ndarray) -> np.ndarray:
    """The upper triangle ``[N, 6]`` of each Cholesky factor's transpose, row by row; flat Gaussians are thickened."""
    c = covariances.astype(np.float64)
    least = 1e-7
    a = np.sqrt(c[:, 0, 0] + least)
    b, d = c[:, 1, 0] / a, c[:, 2, 0] / a
    e = np.sqrt(np.maximum(c[:, 1, 1] + least - b * b, least))
    f = (c[:, 2, 1] - d * b) / e
    g = np.sqrt(np.maximum(c[:, 2, 2] + least - d * d - f * f, least))
    return np.stack([a, b, d, e, f, g], axis=1)
