# SPDX-License-Identifier: Apache-2.0
"""Procedural rooms with exact colour, depth and panoptic truth, and simulated predictions."""

from panoptic_gs.synthetic.classes import CATEGORIES
from panoptic_gs.synthetic.noise import PredictionNoise, simulate_predictions
from panoptic_gs.synthetic.path import inward_path
from panoptic_gs.synthetic.raycast import RoomRenderer, RoomView
from panoptic_gs.synthetic.room import KINDS, Room, make_room
from panoptic_gs.synthetic.scenes import SyntheticScene, synthesize, write_synthetic_scene

__all__ = [
    "CATEGORIES",
    "KINDS",
    "PredictionNoise",
    "Room",
    "RoomRenderer",
    "RoomView",
    "SyntheticScene",
    "inward_path",
    "make_room",
    "simulate_predictions",
    "synthesize",
    "write_synthetic_scene",
]
