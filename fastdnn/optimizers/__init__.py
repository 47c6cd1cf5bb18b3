"""Optimizers and learning-rate schedules: hyper-parameters, and the scalars of every step.

No parameter is touched here; the compiled kernels read the table of `Optimizer.coefficients`.
"""

from .algorithms import (
    OPTIMIZERS,
    SGD,
    Adam,
    AdamW,
    Momentum,
    Nesterov,
    Optimizer,
    RMSProp,
    resolve,
)
from .schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Exponential,
    LearningRate,
    ReduceOnPlateau,
    Schedule,
    Step,
    WarmUp,
    resolve_schedule,
)
from .state import OptimizerState

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "SGD",
    "Adam",
    "AdamW",
    "Constant",
    "Cosine",
    "Exponential",
    "LearningRate",
    "Momentum",
    "Nesterov",
    "Optimizer",
    "OptimizerState",
    "RMSProp",
    "ReduceOnPlateau",
    "Schedule",
    "Step",
    "WarmUp",
    "resolve",
    "resolve_schedule",
]
