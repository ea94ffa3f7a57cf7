# SPDX-License-Identifier: Apache-2.0
"""Bodies as MJCF (MuJoCo) and URDF: a free body an object on a room that stands still."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

from panoptic_gs.files import write_json
from panoptic_gs.mesh.bodies import Body
from panoptic_gs.mesh.physics import Physics

_TIME_STEP = "0.002"
_LEAST_VOLUME = 1e-7  # m³, of a piece that simulators take


def write_simulation(folder: Path, physics: Physics) -> dict[str, str]:
    """Write ``scene.xml`` (MJCF), ``scene.urdf``, ``collision/`` and ``visual/`` with OBJ meshes, and ``physics.json``.

    Each free body's frame has its origin in its centre of mass and the scene's axes, z up, metres.

    Returns:
        File → what it is, for people.
    """
    names = _file_names(physics)
    meshes = {}
    for body in physics.bodies:
        kept = [piece for piece in body.pieces if piece.volume >= _LEAST_VOLUME]
        files = []
        for number, piece in enumerate(kept):
            file = f"{names[body.name]}_{number}.obj"
            _write_obj(folder / "collision" / file, piece.vertices - body.center, piece.faces)
            files.append(file)
        _write_obj(folder / "visual" / f"{names[body.name]}.obj", body.visual.vertices - body.center, body.visual.faces)
        meshes[body.name] = files
    (folder / "scene.xml").write_text(_mjcf(physics, names, meshes), encoding="utf-8")
    (folder / "scene.urdf").write_text(_urdf(physics, names, meshes), encoding="utf-8")
    write_json(folder / "physics.json", _document(physics, names, meshes))
    free = sum(body.moves for body in physics.bodies)
    fixed = len(physics.bodies) - free
    return {
        "scene.xml": f"MJCF: {free} free bodies, {fixed} fixed, {len(physics.boxes)} walls and floors",
        "scene.urdf": "the same as URDF",
        "physics.json": "masses, friction, what is fixed and why",
    }


def _file_names(physics: Physics) -> dict[str, str]:
    names = {}
    for number, body in enumerate(physics.bodies):
        names[body.name] = f"{re.sub(r'[^A-Za-z0-9]+', '_', body.name).strip('_')[:40] or 'object'}_{number}"
    return names


def _mjcf(physics: Physics, names: dict[str, str], meshes: dict[str, list[str]]) -> str:
    root = ET.Element("mujoco", model="panoptic scene")
    ET.SubElement(root, "compiler", angle="radian", meshdir=".")
    ET.SubElement(root, "option", timestep=_TIME_STEP, cone="elliptic", impratio="10", integrator="implicitfast")
    default = ET.SubElement(root, "default")
    ET.SubElement(default, "geom", condim="4", solref="0.01 1", rgba="0.8 0.8 0.8 1")
    visual = ET.SubElement(default, "default", {"class": "visual"})
    ET.SubElement(visual, "geom", type="mesh", contype="0", conaffinity="0", group="1", mass="0")
    collision = ET.SubElement(default, "default", {"class": "collision"})
    ET.SubElement(collision, "geom", type="mesh", group="3")
    asset, world = ET.SubElement(root, "asset"), ET.SubElement(root, "worldbody")
    ET.SubElement(world, "light", pos="0 0 2", dir="0 0 -1", directional="true")
    for box in physics.boxes:
        ET.SubElement(world, "geom", name=f"room {box.name}", type="box", pos=_text(box.center),
                      quat=_text(_quaternion(box.axes)), size=_text(box.half))  # fmt: skip
    for body in physics.bodies:
        name = names[body.name]
        ET.SubElement(asset, "mesh", name=f"visual {name}", file=f"visual/{name}.obj", inertia="shell")
        element = ET.SubElement(world, "body", name=name, pos=_text(body.center))
        if body.moves:
            ET.SubElement(element, "freejoint", name=f"free {name}")
            i = body.inertia
            full = (i[0, 0], i[1, 1], i[2, 2], i[0, 1], i[0, 2], i[1, 2])
            ET.SubElement(element, "inertial", pos="0 0 0", mass=_text([body.mass]), fullinertia=_text(full))
        ET.SubElement(element, "geom", {"class": "visual"}, name=f"visual {name}", mesh=f"visual {name}",
                      rgba=_text([*_color(body), 1.0]))  # fmt: skip
        for file in meshes[body.name]:
            piece = file.removesuffix(".obj")
            ET.SubElement(asset, "mesh", name=piece, file=f"collision/{file}")
            ET.SubElement(element, "geom", {"class": "collision"}, name=piece, mesh=piece,
                          friction=_text([body.friction, 0.005, 0.0001]))  # fmt: skip
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _urdf(physics: Physics, names: dict[str, str], meshes: dict[str, list[str]]) -> str:
    root = ET.Element("robot", name="panoptic_scene")
    extension = ET.SubElement(root, "mujoco")  # other readers leave it out
    ET.SubElement(extension, "option", timestep=_TIME_STEP)
    ET.SubElement(extension, "compiler", meshdir=".", strippath="false", discardvisual="true",
                  fusestatic="false")  # fmt: skip
    ET.SubElement(root, "link", name="world")
    room = ET.SubElement(root, "link", name="room")
    held = ET.SubElement(root, "joint", name="joint_room", type="fixed")
    ET.SubElement(held, "parent", link="world")
    ET.SubElement(held, "child", link="room")
    for box in physics.boxes:
        for kind in ("visual", "collision"):
            part = ET.SubElement(room, kind)
            ET.SubElement(part, "origin", xyz=_text(box.center), rpy=_text(_roll_pitch_yaw(box.axes)))
            ET.SubElement(ET.SubElement(part, "geometry"), "box", size=_text(2 * box.half))
    for body in physics.bodies:
        name = names[body.name]
        link = ET.SubElement(root, "link", name=name)
        if body.moves:
            inertial = ET.SubElement(link, "inertial")
            ET.SubElement(inertial, "origin", xyz="0 0 0", rpy="0 0 0")
            ET.SubElement(inertial, "mass", value=_text([body.mass]))
            i = body.inertia
            parts = {"ixx": i[0, 0], "ixy": i[0, 1], "ixz": i[0, 2], "iyy": i[1, 1], "iyz": i[1, 2], "izz": i[2, 2]}
            ET.SubElement(inertial, "inertia", {key: _text([value]) for key, value in parts.items()})
        look = ET.SubElement(link, "visual")
        ET.SubElement(ET.SubElement(look, "geometry"), "mesh", filename=f"visual/{name}.obj")
        material = ET.SubElement(look, "material", name=f"color_{name}")
        ET.SubElement(material, "color", rgba=_text([*_color(body), 1.0]))
        for file in meshes[body.name]:
            part = ET.SubElement(link, "collision", name=file.removesuffix(".obj"))
            ET.SubElement(ET.SubElement(part, "geometry"), "mesh", filename=f"collision/{file}")
        joint = ET.SubElement(root, "joint", name=f"joint_{name}", type="floating" if body.moves else "fixed")
        ET.SubElement(joint, "parent", link="world")
        ET.SubElement(joint, "child", link=name)
        ET.SubElement(joint, "origin", xyz=_text(body.center), rpy="0 0 0")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _document(physics: Physics, names: dict[str, str], meshes: dict[str, list[str]]) -> dict[str, object]:
    return {
        "units": "metres, kilograms, z up",
        "to_z_up": [[round(float(v), 6) for v in row] for row in physics.to_z_up],
        "bodies": [
            {
                "id": body.id, "body": names[body.name], "name": body.name, "category": body.category,
                "moves": body.moves, "why": body.why, "mass": round(body.mass, 4), "friction": body.friction,
                "density_known": body.known_density, "pieces": len(meshes[body.name]),
                "position": [round(float(v), 5) for v in body.center], "lifted": round(body.lifted, 5),
                "plate_under_it": body.foot, "flat_places": body.flat_places,
            }
            for body in physics.bodies
        ],
        "room": [box.name for box in physics.boxes],
        "left_out": [{"id": id, "why": why} for id, why in physics.left_out.items()],
    }  # fmt: skip


def _color(body: Body) -> np.ndarray:
    return body.visual.color.mean(axis=0) / 255


def _write_obj(path: Path, vertices: np.ndarray, faces: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices]
    lines += [f"f {a} {b} {c}" for a, b, c in faces + 1]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def _text(values: object) -> str:
    return " ".join(f"{float(value):.9g}" for value in np.asarray(values, dtype=np.float64).ravel())


def _quaternion(axes: np.ndarray) -> np.ndarray:
    """w, x, y, z of a rotation."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(axes).as_quat()[[3, 0, 1, 2]]


def _roll_pitch_yaw(axes: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_matrix(axes).as_euler("xyz")
