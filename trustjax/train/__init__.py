"""Training of the networks in `models`: Optax steps, Orbax checkpoints.

result = train.fit(train.config_for("cnn"), train_set, validation_set, workdir=path)
apply_fn, params = bridge.from_nnx(result.model)
"""

from trustjax.train._augmix import augmix as augmix
from trustjax.train._augmix import augmix_loss as augmix_loss
from trustjax.train._augmix import augmix_views as augmix_views
from trustjax.train._checkpoint import (
    DamagedCheckpointWarning as DamagedCheckpointWarning,
)
from trustjax.train._checkpoint import last_checkpoint as last_checkpoint
from trustjax.train._config import TrainConfig as TrainConfig
from trustjax.train._config import config_for as config_for
from trustjax.train._fit import TrainResult as TrainResult
from trustjax.train._fit import fit as fit
from trustjax.train._fit import load as load
from trustjax.train._history import CorrectnessHistory as CorrectnessHistory
from trustjax.train._history import (
    correctness_ranking_loss as correctness_ranking_loss,
)
from trustjax.train._loop import NonFiniteLossError as NonFiniteLossError
from trustjax.train._loop import Run as Run
from trustjax.train._many import TrainedMany as TrainedMany
from trustjax.train._many import fit_many as fit_many
from trustjax.train._noise import gaussian_noise as gaussian_noise
from trustjax.train._position import Position as Position
from trustjax.train._position import TrainEpoch as TrainEpoch
from trustjax.train._runs import Best as Best
from trustjax.train._runs import BestRun as BestRun
from trustjax.train._runs import ClassifierRun as ClassifierRun
from trustjax.train._step import AdversaryFn as AdversaryFn
from trustjax.train._step import AugmentFn as AugmentFn
from trustjax.train._step import DatasetLossFn as DatasetLossFn
from trustjax.train._step import ExampleLossFn as ExampleLossFn
from trustjax.train._step import NetworkLossFn as NetworkLossFn
from trustjax.train._step import TrainBatch as TrainBatch
from trustjax.train._step import TrainState as TrainState
from trustjax.train._step import TrainStep as TrainStep
from trustjax.train._step import assign as assign
from trustjax.train._step import cross_entropy as cross_entropy
from trustjax.train._step import make_outputs as make_outputs
from trustjax.train._step import make_seeded_train_step as make_seeded_train_step
from trustjax.train._step import make_telling_train_step as make_telling_train_step
from trustjax.train._step import make_train_step as make_train_step
