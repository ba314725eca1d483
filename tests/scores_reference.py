"""The scores by their definitions: one example at a time, nothing clever."""

import numpy as np


def softmax(row):
    e = np.exp(row - row.max())
    return e / e.sum()


def max_softmax(row):
    return softmax(row).max()


def log_likelihood(row):
    return np.log(softmax(row).max())


def max_logit(row):
    return row.max()


def margin(row):
    p = np.sort(softmax(row))
    return p[-1] - p[-2]


def negative_entropy(row):
    p = softmax(row)
    return (p * np.log(p)).sum() / np.log(len(p))


def energy(row):
    return np.log(np.exp(row - row.max()).sum()) + row.max()


def negative_brier(row):
    one_hot = np.eye(len(row))[row.argmax()]
    return -np.mean((softmax(row) - one_hot) ** 2)


def gen(row, gamma=0.1, top_m=100):
    p = np.sort(softmax(row))[::-1][:top_m]
    return -((p * (1 - p)) ** gamma).sum()


def grad_trust(row, top_k=None):
    """Variance of the last layer's gradients towards each class, features (1, 2)."""
    features = np.array([1.0, 2.0])
    p = softmax(row)
    targets = np.eye(len(row))
    variance = [np.var(np.outer(p - one_hot, features)) for one_hot in targets]
    first, *rivals = np.argsort(-row, kind="stable")
    return np.mean([variance[k] for k in rivals[:top_k]]) / variance[first]


def grad_trust_rows(row, top_k=None):
    change = (row - 1 / len(row)) ** 4
    first, *rivals = np.argsort(-row, kind="stable")
    return change[first] / np.mean([change[k] for k in rivals[:top_k]])


def grad_trust_reference(row):
    """The released loop: squared gradient of the MSE to 1/C, variance of each row."""
    features = np.array([1.0, 2.0, -0.5])
    gradient = 2 / len(row) * np.outer(row - 1 / len(row), features)
    variances = np.var(gradient**2, axis=1, ddof=1)
    return variances.max() / variances.mean()


def grad_norm(row, features, temperature=1.0):
    """L1 norm of the last layer's gradient of sum_k -log p_k."""
    gradient = (len(row) * softmax(row / temperature) - 1) / temperature
    return np.abs(np.outer(gradient, features)).sum()


def introspective_norm(row, features):
    """L2 norm of the last layer's gradient of the mean squared error to all ones."""
    return np.linalg.norm(np.outer(2 * (row - 1) / len(row), features))
