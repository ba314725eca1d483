"""What scores are made of, as values."""

import dataclasses

import jax.numpy as jnp
import pytest

from trustjax import scores
from trustjax.ingredients import FEATURES, KEY, LOGITS, PREDICTIONS, Ingredient


def test_an_ingredient_is_made_in_one_way():
    with pytest.raises(ValueError, match="made in one way, got ask and fit"):
        Ingredient("both", ask=abs, fit=abs)


@pytest.mark.parametrize("how", ["ask", "compute", "fit"])
def test_options_are_bound_to_the_function_that_makes_it(how):
    scaled = lambda z, factor=1: factor * z
    made = dataclasses.replace(Ingredient("scaled"), **{how: scaled})
    doubled = made.with_options(factor=2)
    assert getattr(doubled, how)(jnp.ones(1)) == 2
    assert getattr(made, how)(jnp.ones(1)) == 1
    assert (doubled.name, doubled.source) == (made.name, made.source)


def test_a_source_is_what_is_asked_fitted_or_given():
    fitted = Ingredient("mean", fit=lambda h, labels: h.mean(0), needs=(FEATURES,))
    noisy = Ingredient("noisy", ask=lambda batch: batch.x, stochastic=True)
    sources = [one.source for one in (LOGITS, PREDICTIONS, KEY, fitted, noisy)]
    assert sources == ["network", "", "key", "training set", "stochastic network"]


def test_what_is_missing_is_read_off_the_ingredients():
    missing = lambda name, *there: scores.lookup(name).missing(there)
    assert missing("mc_dropout") == ("stochastic network", "key")
    assert missing("mc_dropout", "dropout_logits") == ()
    assert missing("knn_distance", "network") == ("training set",)
    assert missing("trust_score", "logits") == ("training set", "network")
    assert missing("deep_ensemble", "network") == ("ensemble_params",)
    assert missing("oracle", "network", "key") == ("oracle_output",)
