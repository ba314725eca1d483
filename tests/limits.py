"""Scores and losses by their definitions, with the limits that infinities have.

One example at a time, in more than double precision: what the battery of hostile values
compares with. A class of logit -inf has probability 0; one +inf logit is certain; two,
or none but -inf, are nothing that a probability could be.
"""

import functools

import numpy as np


def of_rows(reference):
    """Of every row of one or several arrays; an empty batch gives an empty result."""

    @functools.wraps(reference)
    def of_batch(*arrays):
        rows = [
            reference(*(np.asarray(value, _wide(value)) for value in row))
            for row in zip(*arrays, strict=True)
        ]
        return np.array(rows, np.longdouble).reshape(
            len(arrays[0]), *np.shape(rows)[1:]
        )

    return of_batch


def _wide(value):
    kind = np.asarray(value).dtype.kind
    return np.longdouble if kind in "fV" else None


def first_largest(z):
    return int(np.argmax(np.where(np.isnan(z), -np.inf, z)))


def certain_or_nothing(z):
    """One +inf logit as a lead over all others; None where there is no softmax."""
    if np.isnan(z).any() or np.isposinf(z).sum() > 1 or np.isneginf(z).all():
        return None
    if np.isposinf(z).any():
        return np.where(np.isposinf(z), 0, -np.inf).astype(z.dtype)
    return z


def leads(z):
    """How far each class is behind the first of the largest."""
    z = certain_or_nothing(z)
    return None if z is None else z - z[first_largest(z)]


def softmax(z):
    behind = leads(z)
    if behind is None:
        return np.full_like(z, np.nan)
    e = np.exp(behind)
    return e / e.sum()


def rivals(values, z):
    return np.delete(values, first_largest(z))


def doubt(z):
    """1 - p of the prediction: all its digits where p rounds to 1."""
    behind = leads(z)
    if behind is None:
        return np.nan
    others = np.exp(rivals(behind, behind)).sum()
    return others / (1 + others)


def log_softmax(z):
    behind = leads(z)
    if behind is None:
        return np.full_like(z, np.nan)
    return behind - np.log1p(np.exp(rivals(behind, behind)).sum())


def log_likelihood(z):
    return np.max(log_softmax(z))


def max_softmax(z):
    return softmax(z).max()


def max_logit(z):
    return np.nan if np.isnan(z).any() else z.max()


def energy(z):
    if np.isnan(z).any() or np.isinf(z.max()):
        return z.max()
    return z.max() + np.log(np.exp(z - z.max()).sum())


def margin(z):
    p = np.sort(softmax(z))
    return p[-1] - (p[-2] if len(p) > 1 else 0)


def entropy(z):
    p, log_p = softmax(z), log_softmax(z)
    if np.isnan(p).any():
        return np.nan
    present = p > 0
    return -(p[present] * log_p[present]).sum()


def unit_of_entropy(classes):
    return np.log(np.longdouble(classes)) if classes > 1 else 1


def negative_entropy(z):
    return -entropy(z) / unit_of_entropy(len(z))


def distance_to_prediction(z):
    return doubt(z) ** 2 + (rivals(softmax(z), z) ** 2).sum()


def negative_brier(z):
    return -distance_to_prediction(z) / len(z)


def gen(z):
    p = softmax(z)
    if np.isnan(p).any():
        return np.nan
    rest = np.array([np.delete(p, k).sum() for k in range(len(p))])
    log_p, log_rest = log_softmax(z), np.log(rest)
    return -np.exp((log_p + log_rest) / np.longdouble(10)).sum()


def max_logit_p_norm(z, p):
    if p is None:
        return max_softmax(z)
    if not np.isfinite(z).all():
        return np.nan
    behind = z - z.max()
    centred = behind - behind.mean()
    lead, largest = centred.max(), np.abs(centred).max()
    if p == 0 or largest == 0:
        return lead
    return (
        lead
        / largest
        / (np.abs(centred / largest) ** p).sum() ** (1 / np.longdouble(p))
    )


def p_of_norm(z, labels):
    """The best by the area under the risk-coverage curve, None for max softmax."""
    wrong = np.array([first_largest(row) for row in z]) != labels

    def area(score):
        values = np.array([score(row) for row in z], np.float32)
        return np.mean([wrong[values >= value].mean() for value in values])

    areas = {None: area(log_likelihood)}
    areas |= {p: area(lambda row, p=p: max_logit_p_norm(row, p)) for p in range(10)}
    return min(areas, key=lambda p: round(areas[p], 9))


def grad_trust(z):
    p = softmax(z)
    if len(z) == 1:
        return np.inf if np.isfinite(p).all() else np.nan
    others = np.mean([((p - np.eye(len(z))[k]) ** 2).sum()
                      for k in range(len(z)) if k != first_largest(z)])  # fmt: skip
    return others / distance_to_prediction(z)


def log_grad_trust(z):
    """By logarithms: the distance to a sure prediction is below the smallest float."""
    trust = grad_trust(z)
    if not np.isposinf(trust) or len(z) == 1 or np.isinf(z).any():
        return np.log(trust)
    log_others = rivals(log_softmax(z), z)
    doubt_squared = 2 * np.logaddexp.reduce(log_others)
    return np.log(2) - np.logaddexp(doubt_squared, np.logaddexp.reduce(2 * log_others))


def answerable(z):
    """Without the classes of logit -inf."""
    return z[z != -np.inf]


def grad_trust_rows(z):
    z = answerable(z)
    if not np.isfinite(z).all() or not len(z):
        return np.nan
    if len(z) == 1:
        return np.inf
    change = (z - np.longdouble(1) / len(z)) ** 4
    own, others = change[first_largest(z)], rivals(change, z).mean()
    return 1 if own == others == 0 else own / others


def grad_trust_reference(z):
    z = answerable(z)
    if not np.isfinite(z).all() or not len(z):
        return np.nan
    change = (z - np.longdouble(1) / len(z)) ** 4
    return 1 if not change.any() else len(z) * change.max() / change.sum()


def grad_norm(z, h):
    p = softmax(z)
    # Of equal logits nothing, whatever the features.
    change = np.abs(p - np.longdouble(1) / len(z)).sum()
    return len(z) * (change if change > 1e-18 else 0 * change) * np.abs(h).sum()


def introspective_norm(z, h):
    z = answerable(z)
    if np.isinf(z).any() or not len(z):
        return np.nan
    return 2 / np.longdouble(len(z)) * norm(z - 1) * norm(h)


def norm(values):
    return np.sqrt((values**2).sum())


def predicted_class(z):
    return np.argmax(z, axis=-1)  # the first NaN, if there is one


def counterfactuals(z):
    """All classes but the prediction, the most probable first, NaN before all."""
    order = np.argsort(np.where(np.isnan(z), -np.inf, -z), axis=-1, kind="stable")
    others = order[order != predicted_class(z)[:, None]]
    return others.reshape(len(z), z.shape[1] - 1)


# Of gradients.


def gradient_statistic(statistic, pool):
    order = ("l1_norm", "l2_norm", "minimum", "maximum", "standard_deviation")

    @of_rows
    def score(values):
        return pool(values[:, order.index(statistic)])

    return score


def extreme(pick):
    return lambda values: np.nan if np.isnan(values).any() else pick(values)


def counterfactual_grad_trust(z, deviations):
    """`deviations` is `[classes, groups, 2]`: norms, standard deviations."""
    if np.isnan(z).any():
        return np.nan
    if len(z) == 1:
        return np.inf
    variance = (deviations[..., 1] ** 2).mean(axis=-1)
    own, others = variance[first_largest(z)], rivals(variance, z).mean()
    return 1 if own == others == 0 else others / own


def fisher_trace(z, norms):
    p = softmax(z)
    if np.isnan(p).any():
        return np.nan
    total = 0
    for probability, of_class in zip(p, norms[..., 0], strict=True):
        if probability > 0:
            total += probability * (of_class**2).sum()
    return -total


# Of sampled logits `[samples, classes]`.


def mean_softmax(z):
    return np.mean([softmax(row) for row in z], axis=0)


def negative_predictive_entropy(z):
    p = mean_softmax(z)
    if np.isnan(p).any():
        return np.nan
    p = p[p > 0]
    return (p * np.log(p)).sum() / unit_of_entropy(z.shape[-1])


def negative_expected_entropy(z):
    return -np.mean([entropy(row) for row in z]) / unit_of_entropy(z.shape[-1])


def negative_mutual_information(z):
    mean = mean_softmax(z)
    if np.isnan(mean).any():
        return np.nan
    total = 0
    for row in z:
        p, log_p = softmax(row), log_softmax(row)
        there = p > 0
        total += (p[there] * (log_p[there] - np.log(mean[there]))).sum()
    return -total / len(z) / unit_of_entropy(z.shape[-1])


def negative_variation_ratio(z):
    if np.isnan(z).any():
        return np.nan
    votes = np.bincount([first_largest(row) for row in z], minlength=z.shape[-1])
    return votes.max() / np.longdouble(len(z)) - 1


# Losses.


def cross_entropy(z, label):
    log_p = log_softmax(z)
    return -log_p[label] if 0 <= label < len(z) else np.nan


def log_sigmoid(z):
    return np.minimum(z, 0) - np.log1p(np.exp(-np.abs(z)))


def binary_cross_entropy(z, t):
    terms = np.where(t == 0, 0, t * log_sigmoid(z))
    terms = terms + np.where(t == 1, 0, (1 - t) * log_sigmoid(-z))
    return np.nan if np.isnan(z).any() else -terms.mean()


def squared_error(z, t):
    return ((z - t) ** 2).mean()


def steep_slope_loss(z, correct, alpha_positive, alpha_negative):
    s = np.sign(z) if np.isinf(z) else z / (1 + abs(z))
    alpha = alpha_positive if correct else alpha_negative
    return np.exp(alpha * (-s if correct else s)) - np.exp(np.longdouble(-alpha))


def towards(z, correct, limit):
    """`z` for right answers, `-z` for wrong ones, in the range of the floats."""
    return np.clip(z if correct else -z, -limit, limit)


def oracle_cross_entropy(z, correct):
    return -log_sigmoid(z if correct else -z)


def oracle_focal_loss(z, correct, gamma=2):
    u = z if correct else -z
    if np.isposinf(u):
        return 0
    return np.exp(gamma * log_sigmoid(-u)) * -log_sigmoid(u)


def true_class_probability_loss(z, p):
    return (1 / (1 + np.exp(-z)) - p) ** 2


def class_balanced_weights(counts, beta):
    with np.errstate(all="ignore"):
        number = (1 - np.longdouble(beta) ** counts) / (1 - np.longdouble(beta))
        weights = np.where(counts > 0, 1 / number, 0)
        total = weights.sum()
        return weights * len(counts) / total if total else weights
