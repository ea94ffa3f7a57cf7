# SPDX-License-Identifier: Apache-2.0
"""Cameras from point maps: focal lengths, poses, and the alignment to cameras that are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from panoptic_gs.errors import InputError
from panoptic_gs.predict.registration import DegenerateError, Similarity, register_rigid, robust_weights

_MAX_POINTS = 30_000  # a view has far more than two numbers need
_MIN_POINTS = 50
_MAX_RESIDUAL = 0.25  # of the depth; a pose from such points is worth nothing
_LEAVE_OUT = "Leave this image out: the network did not find where it belongs."


@dataclass(frozen=True, eq=False)
class EstimatedCameras:
    """Cameras of N views.

    Args:
        viewmats: ``[N, 4, 4]`` float64, world to camera, OpenCV axes.
        Ks: ``[N, 3, 3]`` float64, pixels of the point maps.
        failures: view → why its camera cannot be told; its matrices are NaN.
    """

    viewmats: np.ndarray
    Ks: np.ndarray
    failures: Mapping[int, InputError]


def estimate_cameras(
    names: Sequence[str],
    points: Sequence[np.ndarray],
    points_local: Sequence[np.ndarray],
    confidence: Sequence[np.ndarray],
    shared_focal: bool = False,
    scales: np.ndarray | None = None,
) -> EstimatedCameras:
    """Pinhole cameras with square pixels and centred principal points from a network's two point maps of each view.

    Args:
        names: of the N views, for messages.
        points: N of ``[H, W, 3]``, point maps in the world; NaN where there is no point.
        points_local: N of ``[H, W, 3]``, the same points in the camera's frame, OpenCV axes, at the same scale.
        confidence: N of ``[H, W]``, weights of the points; not positive or NaN where there is none.
        shared_focal: one focal length for all views (their median), for photos of one camera and zoom.
        scales: ``[N]`` how many pixels of the photo a pixel of the view is wide, where it differs: it is the photos'
            focal length that is shared.
    """
    count = len(names)
    viewmats, focals = np.full((count, 4, 4), np.nan), np.full(count, np.nan)
    failures: dict[int, InputError] = {}
    Ks = np.tile(np.eye(3), (count, 1, 1))
    for index, name in enumerate(names):
        height, width = confidence[index].shape
        columns, rows = np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2
        Ks[index, 0, 2], Ks[index, 1, 2] = width / 2, height / 2
        try:
            viewmats[index], focals[index] = estimate_camera(
                name,
                np.stack(np.meshgrid(columns, rows), axis=-1),
                points[index],
                points_local[index],
                confidence[index],
            )
        except InputError as error:
            failures[index] = error
    if shared_focal and len(failures) < count:
        scale = np.ones(count) if scales is None else scales
        focals = np.where(np.isfinite(focals), np.nanmedian(focals * scale) / scale, focals)
    Ks[:, 0, 0] = Ks[:, 1, 1] = focals
    return EstimatedCameras(viewmats, Ks, failures)


def estimate_camera(
    name: str, pixels: np.ndarray, points: np.ndarray, points_local: np.ndarray, confidence: np.ndarray
) -> tuple[np.ndarray, float]:
    """World to camera ``[4, 4]`` and focal length of one view.

    Args:
        name: of the view, for messages.
        pixels: ``[H, W, 2]`` relative to the principal point.
        points: ``[H, W, 3]`` in the world.
        points_local: ``[H, W, 3]`` in the camera's frame.
        confidence: ``[H, W]``.

    Raises:
        InputError: not enough points, points behind the camera or all on a line, two maps that do not fit.
    """
    source = f"point map of '{name}'"
    valid = valid_points(points, confidence) & np.isfinite(points_local).all(axis=-1)
    rows = np.flatnonzero(valid & (points_local[..., 2] > 0))
    if len(rows) < max(_MIN_POINTS, 0.5 * np.count_nonzero(valid)):
        raise InputError(
            source,
            f"{np.count_nonzero(valid)} of {valid.size} points finite and of positive confidence, "
            f"{len(rows)} of them before the camera",
            f"at least {_MIN_POINTS}, most of them before the camera (z forward)",
            _LEAVE_OUT,
        )
    rows = rows[:: -(-len(rows) // _MAX_POINTS)]
    local, world = (values.reshape(-1, 3)[rows].astype(np.float64) for values in (points_local, points))
    try:
        to_world, weights, residual = register_rigid(local, world, confidence.ravel()[rows])
    except DegenerateError as error:
        raise InputError(source, str(error), "points that spread over a surface", _LEAVE_OUT) from error
    share = residual / float(np.median(local[:, 2]))
    if share > _MAX_RESIDUAL:
        raise InputError(
            source,
            f"global and local points that do not fit each other (median distance {100 * share:.0f}% of the depth)",
            "the same points in two frames, at one scale",
            _LEAVE_OUT,
        )
    focal = focal_length(pixels.reshape(-1, 2)[rows], local, weights)
    if not (np.isfinite(focal) and focal > 0):
        raise InputError(
            source,
            f"a focal length of {focal:.4g} pixels",
            "a positive one",
            "The local points have to be in OpenCV axes: x right, y down, z forward.",
        )
    viewmat = np.eye(4)
    viewmat[:3, :3] = to_world.rotation.T
    viewmat[:3, 3] = -to_world.rotation.T @ to_world.translation
    return viewmat, focal


def focal_length(pixels: np.ndarray, points: np.ndarray, weights: np.ndarray, iterations: int = 50) -> float:
    """The focal length in pixels that minimises Σ w ‖p − f · (x/z, y/z)‖.

    The minimum of a sum of distances (not of squares, so outliers do not pull) by the algorithm of Weiszfeld, Sur le
    point pour lequel la somme des distances de n points donnés est minimum, 1937, as in DUSt3R (Wang et al., 2024,
    Sec. 3.3, recovering intrinsics).

    Args:
        pixels: ``[P, 2]`` pixel coordinates relative to the principal point.
        points: ``[P, 3]`` in the camera's frame, z > 0.
        weights: ``[P]`` not negative.
    """
    rays = points[:, :2] / points[:, 2:]
    dots, norms = (pixels * rays).sum(axis=1), (rays * rays).sum(axis=1)
    focal = 0.0
    reciprocal = np.ones(len(rays))
    for _ in range(iterations):
        w = weights * reciprocal
        previous, focal = focal, float((w * dots).sum() / max((w * norms).sum(), 1e-300))
        if abs(focal - previous) <= 1e-9 * abs(focal):
            break
        reciprocal = 1 / np.linalg.norm(pixels - focal * rays, axis=1).clip(1e-6)
    return focal


def align_to_known(viewmats: np.ndarray, known: np.ndarray) -> tuple[Similarity, np.ndarray, np.ndarray]:
    """The similarity from the world of estimated cameras to that of known ones, by all poses together.

    The rotation is the mean of the rotations between corresponding cameras (chordal L2 mean, Hartley et al., Rotation
    averaging, 2013, Sec. 5.3), scale and translation then fit the camera centres; views that disagree count less.

    Args:
        viewmats: ``[N, 4, 4]`` estimated, world to camera.
        known: ``[N, 4, 4]`` of the same views.

    Returns:
        The similarity; for each view how far its centre is off, as a share of the spread of the known centres, and its
        rotation in degrees.

    Raises:
        InputError: fewer than two cameras, all at one place, or poses that have nothing to do with each other.
    """
    estimated_centers, known_centers = camera_centers(viewmats), camera_centers(known)
    spread = [float(np.sqrt(c.var(axis=0).sum())) for c in (estimated_centers, known_centers)]
    if len(viewmats) < 2 or spread[0] <= 1e-9 or spread[1] <= 1e-9:
        raise InputError(
            "known cameras",
            f"{len(viewmats)} cameras whose centres spread over {spread[1]:.3g} (estimated: {spread[0]:.3g})",
            "at least two cameras at different places",
            "The scale of the scene cannot be told otherwise: add images taken from elsewhere.",
        )
    rotations = np.swapaxes(known[:, :3, :3], 1, 2) @ viewmats[:, :3, :3]
    weights = np.ones(len(viewmats))
    for _ in range(20):
        rotation = _mean_rotation(rotations, weights)
        turned = estimated_centers @ rotation.T
        w = weights / weights.sum()
        a, b = turned - w @ turned, known_centers - w @ known_centers
        scale = float((w[:, None] * a * b).sum() / (w[:, None] * a * a).sum())
        fitted = Similarity(scale, rotation, w @ known_centers - scale * (w @ turned))
        off = np.linalg.norm(fitted(estimated_centers) - known_centers, axis=1) / spread[1]
        cosine = (np.trace(rotations @ rotation.T, axis1=1, axis2=2) - 1) / 2
        angle = np.arccos(cosine.clip(-1, 1))
        residual = np.hypot(off, angle)
        weights = robust_weights(residual, max(3 * float(np.median(residual)), 1e-6))
    if not scale > 0:
        raise InputError(
            "known cameras",
            "poses that have nothing to do with those the network found",
            "the cameras of the same images, matched by name",
            "Check that the images and the scene's cameras have the same names.",
        )
    return fitted, off, np.degrees(angle)


def camera_centers(viewmats: np.ndarray) -> np.ndarray:
    """The centres ``[N, 3]`` in the world of cameras ``[N, 4, 4]``."""
    return -np.einsum("nji,nj->ni", viewmats[:, :3, :3], viewmats[:, :3, 3])


def upright(viewmats: np.ndarray) -> Similarity:
    """The rotation of the world after which the cameras' mean up is +z, so that viewers show the scene upright."""
    up = -viewmats[:, 1, :3].mean(axis=0)
    length = float(np.linalg.norm(up))
    if length < 0.1:  # cameras turned every way have no common up
        return Similarity(1.0, np.eye(3), np.zeros(3))
    up /= length
    axis = np.cross(up, [0.0, 0.0, 1.0])
    if up[2] < -1 + 1e-9:
        return Similarity(1.0, np.diag([1.0, -1.0, -1.0]), np.zeros(3))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return Similarity(1.0, np.eye(3) + cross + cross @ cross / (1 + up[2]), np.zeros(3))


def valid_points(points: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Where ``points [..., 3]`` are finite and their ``confidence [...]`` finite and positive."""
    return np.isfinite(points).all(axis=-1) & np.isfinite(confidence) & (confidence > 0)


def _mean_rotation(rotations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    u, _, vt = np.linalg.svd(np.einsum("n,nij->ij", weights, rotations))
    return (u * np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])) @ vt
