"""The rows of the score table, in the order in which tables and reports list them."""

from trustjax.scores import _confidence, _grad_trust
from trustjax.scores._registry import Score, register

TUTORIAL = "AlRegib and Prabhushankar 2025"

for _score in (
    Score(
        name="max_softmax",
        fn=_confidence.max_softmax,
        needs=("logits",),
        title="Max softmax",
        paper="Hendrycks and Gimpel 2017",
        equation="max_k p_k",
    ),
    Score(
        name="max_logit",
        fn=_confidence.max_logit,
        needs=("logits",),
        title="Max logit",
        paper="Hendrycks et al. 2022",
        equation="max_k z_k",
        provenance="The tutorial's column NLL: its demo passes logits to an NLL loss.",
    ),
    Score(
        name="margin",
        fn=_confidence.margin,
        needs=("logits",),
        title="Margin",
        paper=TUTORIAL,
        equation="p_(1) - p_(2)",
    ),
    Score(
        name="negative_entropy",
        fn=_confidence.negative_entropy,
        needs=("logits",),
        title="Negative entropy",
        paper="Oberdiek et al. 2018, eq. 3",
        equation="sum_k p_k log p_k / log C",
    ),
    Score(
        name="log_likelihood",
        fn=_confidence.log_likelihood,
        needs=("logits",),
        title="Log likelihood",
        paper=TUTORIAL,
        equation="log max_k p_k",
        provenance="Ranks as max softmax, with the digits that float32 rounds to 1.",
    ),
    Score(
        name="energy",
        fn=_confidence.energy,
        needs=("logits",),
        title="Energy",
        paper="Liu et al. 2020, eq. 4",
        equation="T log sum_k exp(z_k / T)",
    ),
    Score(
        name="negative_brier",
        fn=_confidence.negative_brier,
        needs=("logits",),
        title="Negative Brier distance",
        paper=TUTORIAL,
        equation="-|p - e_yhat|^2 / C",
    ),
    Score(
        name="grad_trust",
        fn=_grad_trust.grad_trust,
        needs=("logits",),
        title="GradTrust",
        paper=f"{TUTORIAL}, slide GradTrust",
        equation="mean_k |p - e_k|^2 / |p - e_yhat|^2",
        provenance="Last layer, cross entropy, all counterfactual classes.",
    ),
    Score(
        name="grad_trust_rows",
        fn=_grad_trust.grad_trust_rows,
        needs=("logits",),
        title="GradTrust, rows",
        paper=TUTORIAL,
        equation="(z_yhat - 1/C)^4 / mean_k (z_k - 1/C)^4",
        provenance="The released formula with its two slips mended.",
    ),
    Score(
        name="grad_trust_reference",
        fn=_grad_trust.grad_trust_reference,
        needs=("logits",),
        title="GradTrust, released code",
        paper=TUTORIAL,
        equation="C max_k (z_k - 1/C)^4 / sum_k (z_k - 1/C)^4",
        provenance="The largest row is often the most negative logit's.",
    ),
):
    register(_score)
