# SPDX-License-Identifier: Apache-2.0
"""A trained network in one safetensors file: its weights, and in the header what it is made of."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from panoptic_gs.errors import InputError
from panoptic_gs.network.config import NetworkConfig
from panoptic_gs.network.model import PanopticNetwork
from panoptic_gs.records import parse_record, record_to_json
from panoptic_gs.replacing import replacing

FORMAT = "panoptic-gs network"
VERSION = 1
"""Of the layout of the weights; another number is another network."""
TINY = Path(__file__).with_name("weights") / "tiny.safetensors"
"""The network that comes with the package."""


_MEND = "Give a file that panoptic_gs.network.train wrote."


def own_weights(network: PanopticNetwork) -> dict[str, Tensor]:
    """The weights that a file of this network holds: all but those of a frozen DINOv2, which has its own."""
    frozen = network.config.appearance.kind == "dinov2" and network.config.appearance.frozen
    return {
        name: tensor
        for name, tensor in network.state_dict().items()
        if not (frozen and name.startswith("appearance.model."))
    }


def save_network(path: Path, network: PanopticNetwork, weights: dict[str, Tensor], dtype: torch.dtype) -> None:
    """Write weights and configuration.

    Args:
        path: the file.
        network: what they belong to.
        weights: by their names in `own_weights`.
        dtype: of the stored numbers.
    """
    header = {"format": FORMAT, "version": str(VERSION), "config": json.dumps(record_to_json(network.config))}
    with replacing(path) as temporary:
        save_file({name: tensor.detach().cpu().to(dtype).contiguous() for name, tensor in weights.items()},
                  str(temporary), metadata=header)  # fmt: skip


def read_weights(path: Path | str) -> tuple[NetworkConfig, dict[str, Tensor]]:
    """Configuration and weights in float32.

    Raises:
        InputError: no such file, no safetensors, another format or version, numbers that are not finite.
    """
    path = Path(path)
    mend = _MEND
    if not path.is_file():
        raise InputError(path, "no such file", "a network's weights in safetensors", "Check the path.")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise InputError(path, f"format '{header.get('format')}'", f"'{FORMAT}'", mend)
            if header.get("version") != str(VERSION):
                raise InputError(path, f"version {header.get('version')} of a network's weights", f"version {VERSION}",
                                 "Use the release of panoptic-gs that wrote it, or train anew.")  # fmt: skip
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(path, f"no readable safetensors ({error})", "a network's weights", mend) from error
    try:
        document = json.loads(header.get("config", ""))
    except ValueError as error:
        raise InputError(path, "a configuration that is no JSON", "the network's configuration", mend) from error
    bad = next((name for name, tensor in weights.items() if not bool(torch.isfinite(tensor.float()).all())), None)
    if bad is not None:
        raise InputError(path, f"NaN or infinite numbers in {bad}", "finite weights", "Train anew, with a lower rate.")
    config = parse_record(document, NetworkConfig, f"{path}, configuration", mend=mend)
    return config, {name: tensor.float() for name, tensor in weights.items()}


def load_network_file(path: Path | str, device: str = "cpu") -> PanopticNetwork:
    """A network in evaluation mode, in float32.

    Raises:
        InputError: what `read_weights` refuses; weights that do not fit the configuration.
    """
    config, weights = read_weights(path)
    network = PanopticNetwork(config)
    expected = own_weights(network)
    wrong = [name for name in expected if name not in weights or weights[name].shape != expected[name].shape]
    more = sorted(set(weights) - set(expected))
    if wrong or more:
        raise InputError(path, f"{len(wrong)} weights missing or of another shape ({', '.join(wrong[:3]) or 'none'}), "
                         f"{len(more)} unknown ({', '.join(more[:3]) or 'none'})",
                         "the weights of its configuration", _MEND)  # fmt: skip
    network.load_state_dict(weights, strict=False)
    return network.to(device).eval()
