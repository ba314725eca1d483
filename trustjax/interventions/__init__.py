"""Interventions: what a network says of an input that was changed.

    family = interventions.masked(explain.normalized(maps)[None] > 0.5)
    interventions.predictive_uncertainty_of(apply_fn, params, x, family)

In come `apply_fn`, `params`, a batch x and a `Family`: the intervention set, any number
of changed versions of x, such as masks of an explanation, occlusions, corruptions or
shifts. Out goes how uncertain the answer is over the family, and which part of that is
due to the choice of the member (`predictive_uncertainty`); or how far a part of the
input is enough for the answer (`sufficiency`), and how far it is needed (`necessity`).

A negative intervention is one against the network: a small change after which it is
wrong (`fgsm`, `pgd`, `functional_attack`), or the question whether an example was among
those it learned from (`below_mean_loss`, `label_log_odds`), asked with the help of
networks that were trained alike (`lira`, `attack_columns`, `train.fit_many`).
"""

from trustjax.interventions._attacks import fgsm as fgsm
from trustjax.interventions._attacks import functional_attack as functional_attack
from trustjax.interventions._attacks import pgd as pgd
from trustjax.interventions._effects import Effect as Effect
from trustjax.interventions._effects import necessity as necessity
from trustjax.interventions._effects import sufficiency as sufficiency
from trustjax.interventions._family import Family as Family
from trustjax.interventions._family import given as given
from trustjax.interventions._family import highest_shares as highest_shares
from trustjax.interventions._family import masked as masked
from trustjax.interventions._loss_threshold import Advantage as Advantage
from trustjax.interventions._loss_threshold import below_mean_loss as below_mean_loss
from trustjax.interventions._loss_threshold import (
    membership_advantage as membership_advantage,
)
from trustjax.interventions._membership import Shadows as Shadows
from trustjax.interventions._membership import attack_columns as attack_columns
from trustjax.interventions._membership import label_log_odds as label_log_odds
from trustjax.interventions._membership import lira as lira
from trustjax.interventions._uncertainty import (
    PredictiveUncertainty as PredictiveUncertainty,
)
from trustjax.interventions._uncertainty import (
    predictive_uncertainty as predictive_uncertainty,
)
from trustjax.interventions._uncertainty import (
    predictive_uncertainty_of as predictive_uncertainty_of,
)
