# SPDX-License-Identifier: Apache-2.0
"""An iteration of ``ns-train panst3r-ludvig`` as it is: nerfstudio's loop, data, callbacks and optimizers around it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from panoptic_gs import kernels
from panoptic_gs.synthetic import PredictionNoise, simulate_predictions, synthesize, write_synthetic_scene

STEP = 400
"""Where the training is taken to be: the full image, densification under way, few resets."""


def demo_iteration(folder: Path) -> Callable[[], None]:
    """Make the demo's scene (320 × 240, some 50,000 Gaussians) in ``folder``; one step of training it on the CPU.

    Raises:
        ImportError: nerfstudio is not installed.
    """
    from nerfstudio.engine.callbacks import TrainingCallbackLocation

    from nerfstudio_plugin.method import method_config

    scene = folder / "scene"
    made = synthesize(seed=0, views=50, width=320, height=240)
    write_synthetic_scene(scene, made, simulate_predictions(made.truth, PredictionNoise.preset("default"), 0))
    config = method_config("cpu")
    config.data = config.pipeline.datamanager.data = scene
    config.output_dir, config.timestamp, config.vis = folder, "speed", "tensorboard"
    config.logging.local_writer.enable = False
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    trainer.pipeline.train()
    step = STEP

    def run_callbacks(location: TrainingCallbackLocation) -> None:
        for callback in trainer.callbacks:
            callback.run_callback_at_location(step, location=location)

    def iterate() -> None:
        nonlocal step
        with kernels.one_torch_thread():  # as PanopticTrainer.train does
            run_callbacks(TrainingCallbackLocation.BEFORE_TRAIN_ITERATION)
            trainer.train_iteration(step)
            run_callbacks(TrainingCallbackLocation.AFTER_TRAIN_ITERATION)
        step += 1

    return iterate
