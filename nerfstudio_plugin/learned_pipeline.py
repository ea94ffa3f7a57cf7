# SPDX-License-Identifier: Apache-2.0
"""The pipeline of the methods that learn objects from masks with instance queries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackLocation

from nerfstudio_plugin.compat import input_errors_exit
from nerfstudio_plugin.learned_model import LearnedModel, LearnedModelConfig
from nerfstudio_plugin.learned_stage import LabelsFrom, LearnedStage
from nerfstudio_plugin.pipeline import PanopticPipeline, PanopticPipelineConfig
from panoptic_gs.associate import LearnedOptions
from panoptic_gs.errors import InputError

if TYPE_CHECKING:
    from nerfstudio_plugin.trainer import PanopticTrainer


@dataclass(frozen=True)
class QueryOptions(LearnedOptions):
    """How instance queries are learned. Step counts are of their own training, each step of one view."""

    def __post_init__(self) -> None:
        with input_errors_exit():  # on the command line an exception would leave the parser as a stack trace
            try:
                super().__post_init__()
            except InputError as error:
                option = error.source.rpartition(".")[2].replace("_", "-")
                raise InputError(f"--pipeline.queries.{option}", error.found, error.expected, error.mend) from None

    @classmethod
    def of(cls, options: LearnedOptions) -> QueryOptions:
        """The same options, for the command line."""
        return cls(**vars(options))


@dataclass
class LearnedPipelineConfig(PanopticPipelineConfig):
    """Configuration of the pipeline."""

    _target: type = field(default_factory=lambda: LearnedPipeline)
    """target class to instantiate"""
    model: LearnedModelConfig = field(default_factory=LearnedModelConfig)
    """The Gaussians."""
    queries: QueryOptions = field(default_factory=QueryOptions)
    """The instance queries and how they are learned."""
    freeze_after: float = 0.95
    """The part of the iterations after which Gaussians are frozen and queries are learned; the rest trains colours
    alone. Shapes are nearly final by then: their centres' learning rate, which ends at a hundredth, has fallen to about
    1/80 at 0.95."""
    labels_from: LabelsFrom = "matches"
    """Where the labels come from. matches: the object that each mask is matched to at the end gives scene-wide maps,
    which are uplifted by the rule of model.labels. queries: the panoptic head labels each Gaussian."""

    @property
    def works_on_several_processes(self) -> bool:
        """No: queries would be learned from other random numbers in each."""
        return False


class LearnedPipeline(PanopticPipeline):
    """Trains on colour, then learns objects from the masks of the training views, whatever their numbering.

    Raises:
        InputError: an option out of range.
    """

    config: LearnedPipelineConfig
    model: LearnedModel

    def __init__(self, config: LearnedPipelineConfig, *args: Any, **kwargs: Any) -> None:
        if not 0 <= config.freeze_after <= 1:
            raise InputError("--pipeline.freeze-after", str(config.freeze_after), "a part of the iterations, 0 … 1",
                             "Leave it out for 0.95.")  # fmt: skip
        super().__init__(config, *args, **kwargs)

    def object_callbacks(self, trainer: PanopticTrainer) -> list[TrainingCallback]:
        """Learning the queries, before the first iteration that leaves shapes as they are."""
        total = trainer.config.max_num_iterations
        start = min(int(self.config.freeze_after * total), max(0, total - 1))
        stage = LearnedStage(
            self.datamanager, self.model, self.config.queries, self.config.labels_from, start, trainer.save_checkpoint
        )
        return [TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], stage.before_step)]
