"""Whole-dataset numbers and curves from arrays; nothing here knows of a model."""

from trustjax.metrics._calibration import ReliabilityCurve as ReliabilityCurve
from trustjax.metrics._calibration import (
    expected_calibration_error as expected_calibration_error,
)
from trustjax.metrics._calibration import reliability_curve as reliability_curve
from trustjax.metrics._detection import accuracy as accuracy
from trustjax.metrics._detection import aupr_error as aupr_error
from trustjax.metrics._detection import aupr_success as aupr_success
from trustjax.metrics._detection import auroc as auroc
from trustjax.metrics._detection import fpr_at_tpr as fpr_at_tpr
from trustjax.metrics._selective import RiskCoverage as RiskCoverage
from trustjax.metrics._selective import aurc as aurc
from trustjax.metrics._selective import risk_coverage_curve as risk_coverage_curve
from trustjax.metrics._trust import ExpectedConfidence as ExpectedConfidence
from trustjax.metrics._trust import expected_confidence as expected_confidence
from trustjax.metrics._trust import net_trust_score as net_trust_score
from trustjax.metrics._trust import question_answer_trust as question_answer_trust
from trustjax.metrics._trust import trust_density as trust_density
from trustjax.metrics._trust import trust_spectrum as trust_spectrum
