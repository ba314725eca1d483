"""Whole-dataset numbers and curves from arrays; nothing here knows of a model.

Every metric takes `weights`, one for each example, which say what it counts:

- booleans: a mask of the examples to keep, e.g. without padding;
- integers: how often the example occurs. The metric is that of the rows repeated so
  often, e.g. of a bootstrap sample;
- floats: importance weights. Only their proportions matter.

An example of weight 0 leaves no trace, whatever its values are. Weights that are
negative or not finite are refused where they are known; under a transformation nothing
is left to count with them, and the metric is that of no example, NaN as a rule. The
rank metrics sort once for many vectors of counts or floats under `jax.vmap`.

Of scores that are spread over a mesh, `auroc`, `aupr_success`, `aupr_error`,
`fpr_at_tpr`, `tpr_at_fpr`, `detection_error`, `balanced_threshold`, `aurc`,
`excess_aurc`, `augrc`, `coverage_at_risk` and `risk_at_coverage` gather nothing: the
devices sort by exchanging shares, and the result is as exact as that of one. Arrays say
by themselves that they are spread, and so do their types on explicit axes; inside
`jax.jit` on axes of type Auto, `on_mesh` says it.

Rank metrics are steps in the scores: their derivative by them is refused with a
TypeError. `smooth_auroc` and `smooth_aurc` have one.
"""

from trustjax.metrics._accuracy_curves import auac as auac
from trustjax.metrics._accuracy_curves import audc as audc
from trustjax.metrics._accuracy_curves import aufc as aufc
from trustjax.metrics._bootstrap import Difference as Difference
from trustjax.metrics._bootstrap import Interval as Interval
from trustjax.metrics._bootstrap import bootstrap as bootstrap
from trustjax.metrics._bootstrap import paired_bootstrap as paired_bootstrap
from trustjax.metrics._bounded import interval_of_resampled as interval_of_resampled
from trustjax.metrics._calibration import ReliabilityCurve as ReliabilityCurve
from trustjax.metrics._calibration import (
    adaptive_calibration_error as adaptive_calibration_error,
)
from trustjax.metrics._calibration import (
    average_calibration_error as average_calibration_error,
)
from trustjax.metrics._calibration import (
    classwise_calibration_error as classwise_calibration_error,
)
from trustjax.metrics._calibration import (
    expected_calibration_error as expected_calibration_error,
)
from trustjax.metrics._calibration import (
    maximum_calibration_error as maximum_calibration_error,
)
from trustjax.metrics._calibration import reliability_curve as reliability_curve
from trustjax.metrics._calibration_interval import (
    calibration_error_interval as calibration_error_interval,
)
from trustjax.metrics._compare import Comparison as Comparison
from trustjax.metrics._compare import compare as compare
from trustjax.metrics._compare import compare_resampled as compare_resampled
from trustjax.metrics._corruption import corruption_error as corruption_error
from trustjax.metrics._corruption import (
    relative_corruption_error as relative_corruption_error,
)
from trustjax.metrics._detection import accuracy as accuracy
from trustjax.metrics._detection import aupr_error as aupr_error
from trustjax.metrics._detection import aupr_success as aupr_success
from trustjax.metrics._detection import auroc as auroc
from trustjax.metrics._detection import fpr_at_tpr as fpr_at_tpr
from trustjax.metrics._detection import tpr_at_fpr as tpr_at_fpr
from trustjax.metrics._guarantee import GuaranteedSelection as GuaranteedSelection
from trustjax.metrics._guarantee import (
    selection_with_guaranteed_risk as selection_with_guaranteed_risk,
)
from trustjax.metrics._proper import BrierDecomposition as BrierDecomposition
from trustjax.metrics._proper import brier_decomposition as brier_decomposition
from trustjax.metrics._proper import brier_score as brier_score
from trustjax.metrics._proper import fit_temperature as fit_temperature
from trustjax.metrics._proper import negative_log_likelihood as negative_log_likelihood
from trustjax.metrics._proportion import proportion_interval as proportion_interval
from trustjax.metrics._representation import effective_rank as effective_rank
from trustjax.metrics._representation import (
    singular_value_spectrum as singular_value_spectrum,
)
from trustjax.metrics._score_totals import Bounds as Bounds
from trustjax.metrics._score_totals import ScoreTotals as ScoreTotals
from trustjax.metrics._selective import RiskCoverage as RiskCoverage
from trustjax.metrics._selective import augrc as augrc
from trustjax.metrics._selective import aurc as aurc
from trustjax.metrics._selective import coverage_at_risk as coverage_at_risk
from trustjax.metrics._selective import excess_aurc as excess_aurc
from trustjax.metrics._selective import risk_at_coverage as risk_at_coverage
from trustjax.metrics._selective import risk_coverage_curve as risk_coverage_curve
from trustjax.metrics._separability import (
    bhattacharyya_distance as bhattacharyya_distance,
)
from trustjax.metrics._separability import kl_separability as kl_separability
from trustjax.metrics._shards import on_mesh as on_mesh
from trustjax.metrics._smooth import smooth_aurc as smooth_aurc
from trustjax.metrics._smooth import smooth_auroc as smooth_auroc
from trustjax.metrics._summary import Summary as Summary
from trustjax.metrics._summary import summary as summary
from trustjax.metrics._thresholds import BalancedThreshold as BalancedThreshold
from trustjax.metrics._thresholds import Rates as Rates
from trustjax.metrics._thresholds import balanced_threshold as balanced_threshold
from trustjax.metrics._thresholds import detection_error as detection_error
from trustjax.metrics._thresholds import tpr_tnr as tpr_tnr
from trustjax.metrics._totals import CalibrationTotals as CalibrationTotals
from trustjax.metrics._totals import TrustTotals as TrustTotals
from trustjax.metrics._trust import ConditionalSpectra as ConditionalSpectra
from trustjax.metrics._trust import ExpectedConfidence as ExpectedConfidence
from trustjax.metrics._trust import (
    conditional_trust_spectra as conditional_trust_spectra,
)
from trustjax.metrics._trust import expected_confidence as expected_confidence
from trustjax.metrics._trust import net_trust_score as net_trust_score
from trustjax.metrics._trust import question_answer_trust as question_answer_trust
from trustjax.metrics._trust import trust_density as trust_density
from trustjax.metrics._trust import trust_matrix as trust_matrix
from trustjax.metrics._trust import trust_spectrum as trust_spectrum
