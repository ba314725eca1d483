"""Trustworthiness oracles: networks that learn when a classifier is right.

outcomes = {part: oracles.outcomes(apply_fn, params, images[part]) for part in images}
trained = oracles.fit(
    oracles.OracleConfig("cnn"), images["train"], images["validation"],
    train_outcomes=outcomes["train"], validation_outcomes=outcomes["validation"],
)
scoring.run(["oracle"], apply_fn, params, batches, ingredients=trained.ingredients())

The backbone is a network of `models`, or any other: with `classifier=(apply_fn,
params)` an oracle is a new head on the embedding of that function; both are trained,
or, with `OracleConfig(embedding="frozen")`, the head alone, on embeddings that
`outcomes(..., embedding=True)` has kept. `confidnet` does one and then the other.
"""

from trustjax.oracles._confidnet import ConfidNet as ConfidNet
from trustjax.oracles._confidnet import confidnet as confidnet
from trustjax.oracles._confidnet import confidnet_configs as confidnet_configs
from trustjax.oracles._config import LOSSES as LOSSES
from trustjax.oracles._config import METRICS as METRICS
from trustjax.oracles._config import OracleConfig as OracleConfig
from trustjax.oracles._config import config_for as config_for
from trustjax.oracles._fit import fit as fit
from trustjax.oracles._fit import kept as kept
from trustjax.oracles._fit import load as load
from trustjax.oracles._network import SignedDistance as SignedDistance
from trustjax.oracles._network import create as create
from trustjax.oracles._outcomes import Outcomes as Outcomes
from trustjax.oracles._outcomes import outcomes as outcomes
from trustjax.oracles._step import loss_of as loss_of
from trustjax.oracles._step import make_train_step as make_train_step
from trustjax.oracles._trained import KeptOracle as KeptOracle
from trustjax.oracles._trained import OracleEpoch as OracleEpoch
from trustjax.oracles._trained import TrainedOracle as TrainedOracle
