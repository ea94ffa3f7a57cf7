# SPDX-License-Identifier: Apache-2.0
"""Who runs the same work on many scenes: this machine, a Ray cluster, or Slurm."""

from panoptic_gs.engines.jobs import Ended, Engine, EngineName, EngineOptions, Job
from panoptic_gs.engines.registry import ENGINES, engine_of

__all__ = ["ENGINES", "Ended", "Engine", "EngineName", "EngineOptions", "Job", "engine_of"]
