"""The scores, losses and targets as subjects of the battery of hostile values."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np

from tests import limits
from tests.hostile import (
    CLASSES,
    COUNTS,
    FINITE,
    LABELS,
    NUMBERS,
    OUTCOMES,
    PROBABILITIES,
    SIZES,
    Argument,
    Subject,
)
from tests.limits import of_rows
from trustjax import losses, scores, targets
from trustjax.statistics import GradientStatistics
from trustjax.typing import LastLayer

STATISTICS = ("l1_norm", "l2_norm", "minimum", "maximum", "standard_deviation")


def normal(generator, shape):
    return 2 * generator.normal(size=shape)


def positive(generator, shape):
    return np.abs(generator.normal(size=shape)) + 0.1


def fractions(generator, shape):
    return generator.random(shape)


def one_hot_and_fractions(generator, shape):
    values = generator.random(shape)
    values[::2] = np.round(values[::2])
    return values


def classes(generator, shape):
    return np.arange(np.prod(shape)).reshape(shape) % SIZES["classes"]


def zeros(generator, shape):
    return np.zeros(shape, int)


def outcomes(generator, shape):
    return (np.arange(np.prod(shape)).reshape(shape) % 3 > 0).astype(bool)


def statistics_of(*names):
    def wrap(values):
        shape = np.shape(values)
        groups = shape[-2] if len(shape) > 1 else 0
        return GradientStatistics(values, tuple("abcdefg"[:groups]), names)

    return wrap


LOGITS = Argument("logits", "batch classes", NUMBERS, normal)
FEATURES = Argument("features", "batch features", NUMBERS, normal)
OF_A_LAYER = Argument("logits", "batch 3", NUMBERS, normal)
OF_A_FIT = Argument("features", "batch 2", NUMBERS, normal)
SAMPLED = Argument("sampled_logits", "batch samples classes", NUMBERS, normal)
INGREDIENTS = {
    "logits": LOGITS,
    "odin_logits": LOGITS,
    "features": FEATURES,
    "dropout_logits": SAMPLED,
    "ensemble_logits": SAMPLED,
    "augmented_logits": SAMPLED,
    "oracle_output": Argument("oracle_output", "batch 1", NUMBERS, normal),
    "detector_output": Argument("detector_output", "batch", NUMBERS, normal),
    "gradient_statistics": Argument(
        "gradient_statistics",
        "batch groups 5",
        NUMBERS,
        normal,
        wrap=statistics_of(*STATISTICS),
    ),
    "gradient_alignments": Argument(
        "gradient_alignments",
        "batch groups 1",
        NUMBERS,
        fractions,
        wrap=statistics_of("cosine"),
    ),
    "confounding_gradients": Argument(
        "confounding_gradients",
        "batch groups 1",
        NUMBERS,
        positive,
        wrap=statistics_of("squared_norm"),
    ),
    "class_gradients": Argument(
        "class_gradients",
        "batch classes groups 2",
        NUMBERS,
        positive,
        wrap=statistics_of("l2_norm", "standard_deviation"),
    ),
    "predictions": Argument("predictions", "batch", LABELS, classes),
}

# Training points of the scores that are fitted, and their classes.
POINTS = np.array([[0, 0], [1, 0], [0, 2], [4, 4], [5, 4], [4, 6], [-3, 5], [-2, 4.5]])
CLASS_OF = np.array([0, 0, 0, 1, 1, 1, 2, 2])
QUERIES = np.array([[0.5, 1.0], [3.0, 4.5], [-9.0, 2.0]], np.float32)
LAYER = LastLayer(
    np.array([[0.5, -0.25, 0.125], [0.25, 0.125, -0.5]], np.float32),
    np.array([0.5, -0.25, 0.125], np.float32),
)


def first_features(width):
    """The same layer for fewer features."""
    return LAYER._replace(kernel=LAYER.kernel[:width])


ANSWERED = POINTS @ LAYER.kernel + LAYER.bias
FITS = {
    "last_layer": lambda points, labels: LAYER,
    "feature_mean_state": lambda points, labels: scores.fit_feature_mean(points),
    "unit_mahalanobis_state": scores.fit_mahalanobis_plus_plus,
    "vim_state": lambda points, labels: scores.fit_vim(points, LAYER),
    "react_state": lambda points, labels: scores.fit_react(points),
    "nnguide_state": lambda points, labels: scores.fit_nnguide(points, ANSWERED),
    "p_norm_state": lambda points, labels: scores.PNormState(3),
    "trust_score_state": scores.fit_trust_score,
    "knn_state": lambda points, labels: scores.fit_knn(points),
    "mahalanobis_state": scores.fit_mahalanobis,
    "centroid_state": scores.fit_centroids,
}


class Fit:
    """The scores that are fitted, by their definitions, of any training set."""

    def __init__(self, points, labels):
        self.points, self.labels = points, labels
        there = np.unique(labels)
        self.members = {c: points[labels == c] for c in there}
        self.means = np.array([self.members[c].mean(axis=0) for c in there])
        self.deviations = points - self.means[np.searchsorted(there, labels)]

    def trust_score(self, h, prediction):
        if np.isnan(h).any():
            return np.nan
        distance = {
            c: min(limits.norm(h - p) for p in own) for c, own in self.members.items()
        }
        own = distance.pop(int(prediction), np.inf)
        # Where the squares overflow in float32 nothing is near.
        others = min(distance.values(), default=np.inf)
        return 0 if own > 1e30 else others / (own + 1e-12)

    def knn_distance(self, h):
        if not np.isfinite(h).all():
            return np.nan
        unit = lambda v: v / limits.norm(v) if v.any() else v
        return -np.sort([limits.norm(unit(h) - unit(p)) for p in self.points])[0]

    def mahalanobis(self, h):
        within = self.deviations.T @ self.deviations / len(self.points)
        return -min(gaussian(h, mean, within) for mean in self.means)

    def relative_mahalanobis(self, h):
        if not np.isfinite(h).all():
            return np.nan
        centred = self.points - self.points.mean(axis=0)
        overall = centred.T @ centred / len(self.points)
        to_all = gaussian(h, self.points.mean(axis=0), overall)
        # What float32 cannot square has no difference.
        return self.mahalanobis(h) + to_all if to_all < 1e37 else np.nan

    def centroid_kernel(self, h):
        if np.isnan(h).any():
            return np.nan
        width = 2 * np.mean(self.deviations**2) * len(h)
        width = width if width > 0 else 2.0 * len(h)
        return max(np.exp(-((h - mean) ** 2).sum() / width) for mean in self.means)

    def fdbd(self, h, z):
        with np.errstate(all="ignore"):
            away = limits.norm(h - self.points.mean(axis=0))
        if np.isnan(z).any() or np.isnan(away) or np.isposinf(z).sum() > 1:
            return np.nan
        own = limits.first_largest(z)
        if np.isneginf(z).all():
            return np.nan
        w = LAYER.kernel.T.astype(np.longdouble)
        terms = [
            (z[own] - z[c]) / limits.norm(w[own] - w[c]) for c in range(3) if c != own
        ]
        if np.isinf(terms).any() and np.isinf(away):
            return np.nan
        return np.mean(terms) / away

    def nci(self, h, prediction):
        away = h - self.points.mean(axis=0)
        if not np.isfinite(h).all() or not 0 <= prediction < 3:
            return np.nan
        direction = away / limits.norm(away) if away.any() else away
        kernel = first_features(len(h)).kernel
        return direction @ kernel[:, int(prediction)] + 1e-4 * np.abs(h).sum()

    def mahalanobis_plus_plus(self, h):
        if not np.isfinite(h).all():
            return np.nan
        unit = lambda v: v / limits.norm(v) if v.any() else v
        return Fit(np.array([unit(p) for p in self.points]), self.labels).mahalanobis(
            unit(h)
        )

    def vim(self, h, z):
        layer = [np.asarray(a, np.float64) for a in first_features(len(h))]
        origin = -np.linalg.pinv(layer[0].T) @ layer[1]
        centred = np.asarray(self.points - origin, np.float64)
        width = centred.shape[1]
        _, directions = np.linalg.eigh(centred.T @ centred)
        residual = directions[:, : width - width // 2]
        length = np.mean([limits.norm(c @ residual) for c in centred])
        largest = (self.points @ layer[0] + layer[1]).max(axis=1).mean()
        alpha = largest / length if length > 1e-7 * np.abs(centred).mean() else 0
        if not np.isfinite(h).all():
            return np.nan
        return limits.energy(z) - alpha * limits.norm((h - origin) @ residual)

    def react(self, h):
        limit = np.quantile(np.asarray(self.points, np.float32), 0.9)
        return energy_of(np.minimum(h, limit))

    def ash(self, h):
        largest = np.argsort(-h, kind="stable")[:1]
        return self.shaped(h, np.isin(np.arange(len(h)), largest), prune=True)

    def scaled_energy(self, h):
        largest = np.argsort(-h, kind="stable")[:1]
        return self.shaped(h, np.isin(np.arange(len(h)), largest), prune=False)

    def shaped(self, h, kept, prune):
        if not np.isfinite(h).all():
            return np.nan
        of_kept = h[kept].sum()
        factor = np.exp(h.sum() / of_kept) if of_kept > 0 else 1
        return energy_of(np.where(kept, h, 0 if prune else h) * factor)

    def nnguide(self, h, z, k=3, answers=ANSWERED):
        if not np.isfinite(h).all():
            return np.nan
        unit = lambda v: v / limits.norm(v) if v.any() else v
        guides = [
            limits.energy(answer) * (unit(h) @ unit(point))
            for point, answer in zip(self.points, answers, strict=True)
        ]
        return limits.energy(z) * np.mean(sorted(guides)[-k:])


def energy_of(h):
    """Of other features behind the same layer."""
    if np.isnan(h).any():
        return np.nan
    return limits.energy(h @ first_features(len(h)).kernel + LAYER.bias)


def gaussian(h, mean, covariance):
    if np.isnan(h).any():
        return np.nan
    if np.isinf(h).any():
        return np.inf
    precision = np.linalg.pinv(covariance.astype(np.float64), hermitian=True)
    return (h - mean) @ precision @ (h - mean)


FIT = Fit(POINTS, CLASS_OF)


of_softmax = {
    "max_softmax": limits.max_softmax,
    "max_logit": limits.max_logit,
    "margin": limits.margin,
    "negative_entropy": limits.negative_entropy,
    "log_likelihood": limits.log_likelihood,
    "energy": limits.energy,
    "negative_brier": limits.negative_brier,
    "gen": limits.gen,
    "max_logit_p_norm": functools.partial(limits.max_logit_p_norm, p=3),
    "grad_trust": limits.grad_trust,
    "grad_trust_rows": limits.grad_trust_rows,
    "grad_trust_reference": limits.grad_trust_reference,
    "grad_norm": limits.grad_norm,
    "introspective_norm": limits.introspective_norm,
    "counterfactual_grad_trust": limits.counterfactual_grad_trust,
    "fisher_trace": limits.fisher_trace,
    "trust_score": FIT.trust_score,
    "knn_distance": FIT.knn_distance,
    "mahalanobis": FIT.mahalanobis,
    "relative_mahalanobis": FIT.relative_mahalanobis,
    "centroid_kernel": FIT.centroid_kernel,
    "fdbd": FIT.fdbd,
    "nci": FIT.nci,
    "mahalanobis_plus_plus": FIT.mahalanobis_plus_plus,
    "vim": FIT.vim,
    "react": FIT.react,
    "ash": FIT.ash,
    "scaled_energy": FIT.scaled_energy,
    "nnguide": FIT.nnguide,
    "odin": limits.max_softmax,
    "mc_dropout": limits.negative_predictive_entropy,
    "mc_dropout_expected_entropy": limits.negative_expected_entropy,
    "mc_dropout_mutual_information": limits.negative_mutual_information,
    "mc_dropout_variation_ratio": limits.negative_variation_ratio,
    "deep_ensemble": limits.negative_predictive_entropy,
    "deep_ensemble_mutual_information": limits.negative_mutual_information,
    "test_time_augmentation": limits.negative_predictive_entropy,
    "oracle": lambda z: z[0],
    "detector": lambda s: s,
    "gradient_direction": lambda cosines: cosines.mean(),
    "purview": lambda norms: -norms.mean(),
}
REFERENCES = {name: of_rows(reference) for name, reference in of_softmax.items()} | {
    "gradient_l2_norm": limits.gradient_statistic("l2_norm", lambda v: -limits.norm(v)),
    "gradient_l1_norm": limits.gradient_statistic("l1_norm", lambda v: -v.sum()),
    "gradient_minimum": limits.gradient_statistic("minimum", limits.extreme(np.min)),
    "gradient_maximum": limits.gradient_statistic(
        "maximum", lambda v: -limits.extreme(np.max)(v)
    ),
    "gradient_standard_deviation": limits.gradient_statistic(
        "standard_deviation", lambda v: -limits.norm(v) / np.sqrt(len(v))
    ),
}
CHOOSE = (
    "ash",
    "max_logit_p_norm",
    "counterfactual_grad_trust",
    "mc_dropout_variation_ratio",
)
# Where an axis must not be empty, and the size of what is computed with.
NONEMPTY = ("classes", "samples", "groups")
UNITS = {
    "grad_norm": 20.0,
    "relative_mahalanobis": 30.0,
    "mahalanobis": 30.0,
    "mahalanobis_plus_plus": 30.0,
    "vim": 10.0,
    "nnguide": 10.0,
    "trust_score": 10.0,
}


def subject_of(name):
    """A registered score as a function of what it is made of, its states fitted."""
    row = scores.lookup(name)
    names = [need.name for need in row.needs]
    states = {n: FITS[n](POINTS, CLASS_OF) for n in names if n in FITS}
    needs = [need for need in names if need not in states]
    # Of eight training points there is no 50th neighbour.
    options = {"knn_distance": {"k": 1}, "nnguide": {"k": 3}}.get(name, {})

    def fn(*arrays):
        given = dict(zip(needs, arrays, strict=True)) | states
        return row.fn(*(given[need] for need in names), **options)

    arguments = [INGREDIENTS[need] for need in needs]
    if states:
        arguments = [OF_A_FIT if a is FEATURES else a for a in arguments]
    if "last_layer" in names:
        arguments = [OF_A_LAYER if a is LOGITS else a for a in arguments]
    return Subject(
        fn=fn,
        arguments=tuple(arguments),
        reference=REFERENCES[name],
        nonempty=NONEMPTY,
        chooses=name in CHOOSE,
        in_float32=bool(states),
        calls=(row.fn,),
        unit=UNITS.get(name, 1.0),
    )


Z = Argument("z", "batch", NUMBERS, normal)
CORRECT = Argument("correct", "batch", OUTCOMES, outcomes)
TARGETS = Argument("targets", "batch classes", NUMBERS, fractions)
FRACTIONS = dataclasses.replace(PROBABILITIES, unknown="anything")
LABELLED = Argument("targets", "batch classes", FRACTIONS, one_hot_and_fractions)
SLOPES = {"alpha_positive": 1.0, "alpha_negative": 3.0}

LOSSES = {
    "predicted_cross_entropy": Subject(
        losses.predicted_cross_entropy,
        (LOGITS,),
        of_rows(lambda z: -limits.log_likelihood(z)),
        NONEMPTY,
    ),
    "cross_entropy": Subject(
        losses.cross_entropy,
        (LOGITS, Argument("labels", "batch", LABELS, classes)),
        of_rows(limits.cross_entropy),
        NONEMPTY,
    ),
    "binary_cross_entropy": Subject(
        losses.binary_cross_entropy,
        (LOGITS, LABELLED),
        of_rows(limits.binary_cross_entropy),
        NONEMPTY,
    ),
    "squared_error": Subject(
        losses.squared_error,
        (LOGITS, TARGETS),
        of_rows(limits.squared_error),
        NONEMPTY,
    ),
    "steep_slope_loss": Subject(
        functools.partial(losses.steep_slope_loss, **SLOPES),
        (Z, CORRECT),
        of_rows(functools.partial(limits.steep_slope_loss, **SLOPES)),
    ),
    "oracle_cross_entropy": Subject(
        losses.oracle_cross_entropy, (Z, CORRECT), of_rows(limits.oracle_cross_entropy)
    ),
    "oracle_focal_loss": Subject(
        losses.oracle_focal_loss, (Z, CORRECT), of_rows(limits.oracle_focal_loss)
    ),
    "true_class_probability_loss": Subject(
        losses.true_class_probability_loss,
        (Z, Argument("probability", "batch", FRACTIONS, fractions)),
        of_rows(limits.true_class_probability_loss),
    ),
    "class_balanced_weights": Subject(
        functools.partial(losses.class_balanced_weights, beta=0.9),
        (
            Argument(
                "counts", "classes", COUNTS, lambda generator, shape: np.arange(*shape)
            ),
        ),
        functools.partial(limits.class_balanced_weights, beta=0.9),
        any_float=True,
    ),
}


def fit_and_score(fit, score, of_fit, **options):
    """A fit as a function of its training set: what the score then says of queries."""

    def fn(*training_set):
        width = (*np.shape(training_set[0]), 2, 2)[1]
        queries = jnp.asarray(QUERIES[:, :width])
        return score(fit(*training_set), queries, **options)

    def reference(points, labels=None):
        labels = np.zeros(len(points), int) if labels is None else labels
        fitted = Fit(points, labels)
        queries = np.array(QUERIES[:, : points.shape[1]], np.longdouble)
        return np.array([of_fit(fitted, h, c) for c, h in enumerate(queries)])

    return fn, reference


FINITE_LOGITS = Argument(
    "logits",
    "batch classes",
    dataclasses.replace(
        FINITE,
        refuses=lambda z: None if np.isfinite(z).all() else "must be finite, got",
    ),
    normal,
)
ANSWERS = np.array([[2, 1, 0], [0, 1, -3], [1, 1, 2]], np.float32)


def fit_p_norm(logits, labels):
    return scores.max_logit_p_norm(
        scores.fit_p_norm(logits, labels), jnp.asarray(ANSWERS)
    )


def by_p_norm(logits, labels):
    p = limits.p_of_norm(logits, labels)
    return np.array(
        [limits.max_logit_p_norm(z, p) for z in np.asarray(ANSWERS, np.longdouble)]
    )


TRAINING = (
    Argument("features", "batch features", FINITE, normal),
    Argument("labels", "batch", CLASSES, classes),
)
FITTED = {
    "fit_trust_score": fit_and_score(
        scores.fit_trust_score,
        lambda state, h: scores.trust_score(state, h, jnp.array([0, 1, 2])),
        Fit.trust_score,
    ),
    "fit_knn": fit_and_score(
        scores.fit_knn, scores.knn_distance, lambda fit, h, _: fit.knn_distance(h), k=1
    ),
    "fit_mahalanobis": fit_and_score(
        scores.fit_mahalanobis,
        scores.mahalanobis,
        lambda fit, h, _: fit.mahalanobis(h),
    ),
    "fit_centroids": fit_and_score(
        scores.fit_centroids,
        scores.centroid_kernel,
        lambda fit, h, _: fit.centroid_kernel(h),
    ),
    "fit_mahalanobis_plus_plus": fit_and_score(
        scores.fit_mahalanobis_plus_plus,
        scores.mahalanobis_plus_plus,
        lambda fit, h, _: fit.mahalanobis_plus_plus(h),
    ),
    "fit_feature_mean": fit_and_score(
        scores.fit_feature_mean,
        lambda state, h: scores.nci(
            state, h, jnp.array([0, 1, 2]), first_features(h.shape[1])
        ),
        Fit.nci,
    ),
    "fit_react": fit_and_score(
        scores.fit_react,
        lambda state, h: scores.react(state, h, first_features(h.shape[1])),
        lambda fit, h, _: fit.react(h),
    ),
    "fit_vim": fit_and_score(
        lambda points: scores.fit_vim(
            points, first_features((*np.shape(points), 2, 2)[1])
        ),
        lambda state, h: scores.vim(state, h, jnp.asarray(ANSWERS)),
        lambda fit, h, c: fit.vim(h, np.asarray(ANSWERS[c], np.longdouble)),
    ),
}
OF_FEATURES_ALONE = ("fit_knn", "fit_feature_mean", "fit_react", "fit_vim")
MORE_SCORES = (
    {
        "log_grad_trust": Subject(
            scores.log_grad_trust,
            (LOGITS,),
            of_rows(limits.log_grad_trust),
            NONEMPTY,
        ),
        "ensemble_max_softmax": Subject(
            scores.ensemble_max_softmax,
            (SAMPLED,),
            of_rows(lambda z: limits.mean_softmax(z).max()),
            NONEMPTY,
        ),
    }
    | {
        name: Subject(getattr(scores, name), (SAMPLED,), of_rows(reference), NONEMPTY)
        for name, reference in (
            ("negative_predictive_entropy", limits.negative_predictive_entropy),
            ("negative_expected_entropy", limits.negative_expected_entropy),
            ("negative_mutual_information", limits.negative_mutual_information),
        )
    }
    | {
        "negative_variation_ratio": Subject(
            scores.negative_variation_ratio,
            (SAMPLED,),
            of_rows(limits.negative_variation_ratio),
            NONEMPTY,
            chooses=True,
        ),
        "fit_p_norm": Subject(
            fit_p_norm,
            (FINITE_LOGITS, Argument("labels", "batch", CLASSES, zeros)),
            by_p_norm,
            (*NONEMPTY, "batch"),
            jits=False,
            in_float32=True,
            calls=(scores.fit_p_norm,),
        ),
        "fit_nnguide": Subject(
            lambda features, logits: scores.nnguide(
                scores.fit_nnguide(features, logits),
                jnp.asarray(QUERIES[:, : np.shape(features)[-1]]),
                jnp.asarray(ANSWERS),
                k=1,
            ),
            (TRAINING[0], FINITE_LOGITS),
            lambda points, logits: np.array(
                [
                    Fit(points, np.zeros(len(points), int)).nnguide(h, z, 1, logits)
                    for h, z in zip(
                        np.asarray(QUERIES[:, : points.shape[1]], np.longdouble),
                        np.asarray(ANSWERS, np.longdouble),
                        strict=True,
                    )
                ]
            ),
            (*NONEMPTY, "batch", "features"),
            unit=10.0,
            jits=False,
            in_float32=True,
            calls=(scores.fit_nnguide,),
        ),
        "gradient_statistic": Subject(
            scores.gradient_statistic,
            (INGREDIENTS["gradient_statistics"],),
            REFERENCES["gradient_l2_norm"],
            NONEMPTY,
        ),
    }
    | {
        name: Subject(
            fn,
            TRAINING[:1] if name in OF_FEATURES_ALONE else TRAINING,
            reference,
            (*NONEMPTY, "batch", "features"),
            unit=100.0,
            jits=False,
            in_float32=True,
            calls=(getattr(scores, name),),
        )
        for name, (fn, reference) in FITTED.items()
    }
)


def of_logits(fn, reference, **more):
    return Subject(fn, (LOGITS,), reference, NONEMPTY, chooses=True, **more)


def constant_of_logits(fn, value):
    """What depends on the shape of the logits alone, in their own dtype."""
    reference = lambda z: np.full(z.shape, value(np.longdouble(z.shape[1])))
    return Subject(fn, (LOGITS,), reference, NONEMPTY, keeps_dtype=True)


TARGETS_OF = {
    "predicted_class": of_logits(targets.predicted_class, limits.predicted_class),
    "every_class": Subject(
        targets.every_class,
        (LOGITS,),
        lambda z: np.tile(np.arange(z.shape[1]), (len(z), 1)),
        NONEMPTY,
    ),
    "top_k_counterfactuals": of_logits(
        functools.partial(targets.top_k_counterfactuals, k=1),
        lambda z: limits.counterfactuals(z)[:, :1],
        plural=("classes",),
        options=("k",),
    ),
    "contrast_class": of_logits(
        targets.contrast_class,
        lambda z: limits.counterfactuals(z)[:, 0],
        plural=("classes",),
        options=("rank",),
    ),
    "one_hot": Subject(
        functools.partial(targets.one_hot, num_classes=3),
        (Argument("labels", "batch", LABELS, classes),),
        lambda labels: (labels[:, None] == np.arange(3)).astype(np.longdouble),
    ),
    "uniform": constant_of_logits(targets.uniform, lambda classes: 1 / classes),
    "all_ones": constant_of_logits(targets.all_ones, lambda classes: 1),
    "confounding_labels": constant_of_logits(
        targets.confounding_labels, lambda classes: 1
    ),
}
SCORES = {name: subject_of(name) for name in scores.names()} | MORE_SCORES
