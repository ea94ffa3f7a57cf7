# SPDX-License-Identifier: Apache-2.0
"""How the heads' channels become points: from the decoder."""


class Decoder:
    """Of a model."""

    pointmaps_activation = "norm_exp"


def get_pointmaps_activation(decoder, verbose=True):
    if verbose:
        print(f"pointmaps activation: {decoder.pointmaps_activation}")
    return decoder.pointmaps_activation
