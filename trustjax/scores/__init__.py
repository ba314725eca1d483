"""One number per example, higher = more trust; no score sees a true label."""

from trustjax.scores._alignment import gradient_direction as gradient_direction
from trustjax.scores._centroid import CENTROID_STATE as CENTROID_STATE
from trustjax.scores._centroid import MAHALANOBIS_STATE as MAHALANOBIS_STATE
from trustjax.scores._centroid import CentroidState as CentroidState
from trustjax.scores._centroid import MahalanobisState as MahalanobisState
from trustjax.scores._centroid import centroid_kernel as centroid_kernel
from trustjax.scores._centroid import fit_centroids as fit_centroids
from trustjax.scores._centroid import fit_mahalanobis as fit_mahalanobis
from trustjax.scores._centroid import mahalanobis as mahalanobis
from trustjax.scores._centroid import relative_mahalanobis as relative_mahalanobis
from trustjax.scores._class_gradients import (
    counterfactual_grad_trust as counterfactual_grad_trust,
)
from trustjax.scores._class_gradients import fisher_trace as fisher_trace
from trustjax.scores._confidence import energy as energy
from trustjax.scores._confidence import log_likelihood as log_likelihood
from trustjax.scores._confidence import margin as margin
from trustjax.scores._confidence import max_logit as max_logit
from trustjax.scores._confidence import max_softmax as max_softmax
from trustjax.scores._confidence import negative_brier as negative_brier
from trustjax.scores._confidence import negative_entropy as negative_entropy
from trustjax.scores._detector import DETECTOR_OUTPUT as DETECTOR_OUTPUT
from trustjax.scores._detector import detector as detector
from trustjax.scores._disagreement import ensemble_max_softmax as ensemble_max_softmax
from trustjax.scores._disagreement import (
    negative_expected_entropy as negative_expected_entropy,
)
from trustjax.scores._disagreement import (
    negative_mutual_information as negative_mutual_information,
)
from trustjax.scores._disagreement import (
    negative_predictive_entropy as negative_predictive_entropy,
)
from trustjax.scores._disagreement import (
    negative_variation_ratio as negative_variation_ratio,
)
from trustjax.scores._ensemble import deep_ensemble as deep_ensemble
from trustjax.scores._ensemble import (
    deep_ensemble_mutual_information as deep_ensemble_mutual_information,
)
from trustjax.scores._ensemble import mc_dropout as mc_dropout
from trustjax.scores._ensemble import (
    mc_dropout_expected_entropy as mc_dropout_expected_entropy,
)
from trustjax.scores._ensemble import (
    mc_dropout_mutual_information as mc_dropout_mutual_information,
)
from trustjax.scores._ensemble import (
    mc_dropout_variation_ratio as mc_dropout_variation_ratio,
)
from trustjax.scores._ensemble import test_time_augmentation as test_time_augmentation
from trustjax.scores._feature_mean import FEATURE_MEAN_STATE as FEATURE_MEAN_STATE
from trustjax.scores._feature_mean import FeatureMeanState as FeatureMeanState
from trustjax.scores._feature_mean import fdbd as fdbd
from trustjax.scores._feature_mean import fit_feature_mean as fit_feature_mean
from trustjax.scores._feature_mean import nci as nci
from trustjax.scores._gen import gen as gen
from trustjax.scores._grad_trust import grad_trust as grad_trust
from trustjax.scores._grad_trust import grad_trust_reference as grad_trust_reference
from trustjax.scores._grad_trust import grad_trust_rows as grad_trust_rows
from trustjax.scores._grad_trust import log_grad_trust as log_grad_trust
from trustjax.scores._gradient import gradient_l1_norm as gradient_l1_norm
from trustjax.scores._gradient import gradient_l2_norm as gradient_l2_norm
from trustjax.scores._gradient import gradient_maximum as gradient_maximum
from trustjax.scores._gradient import gradient_minimum as gradient_minimum
from trustjax.scores._gradient import (
    gradient_standard_deviation as gradient_standard_deviation,
)
from trustjax.scores._gradient import gradient_statistic as gradient_statistic
from trustjax.scores._last_layer import grad_norm as grad_norm
from trustjax.scores._last_layer import introspective_norm as introspective_norm
from trustjax.scores._mahalanobis_plus_plus import (
    UNIT_MAHALANOBIS_STATE as UNIT_MAHALANOBIS_STATE,
)
from trustjax.scores._mahalanobis_plus_plus import (
    UnitMahalanobisState as UnitMahalanobisState,
)
from trustjax.scores._mahalanobis_plus_plus import (
    fit_mahalanobis_plus_plus as fit_mahalanobis_plus_plus,
)
from trustjax.scores._mahalanobis_plus_plus import (
    mahalanobis_plus_plus as mahalanobis_plus_plus,
)
from trustjax.scores._max_logit_p_norm import P_NORM_STATE as P_NORM_STATE
from trustjax.scores._max_logit_p_norm import PNormState as PNormState
from trustjax.scores._max_logit_p_norm import fit_p_norm as fit_p_norm
from trustjax.scores._max_logit_p_norm import max_logit_p_norm as max_logit_p_norm
from trustjax.scores._neighbour import KNN_STATE as KNN_STATE
from trustjax.scores._neighbour import TRUST_SCORE_STATE as TRUST_SCORE_STATE
from trustjax.scores._neighbour import NeighbourState as NeighbourState
from trustjax.scores._neighbour import TrustScoreState as TrustScoreState
from trustjax.scores._neighbour import fit_knn as fit_knn
from trustjax.scores._neighbour import fit_trust_score as fit_trust_score
from trustjax.scores._neighbour import knn_distance as knn_distance
from trustjax.scores._neighbour import trust_score as trust_score
from trustjax.scores._nnguide import NNGUIDE_STATE as NNGUIDE_STATE
from trustjax.scores._nnguide import NnguideState as NnguideState
from trustjax.scores._nnguide import fit_nnguide as fit_nnguide
from trustjax.scores._nnguide import nnguide as nnguide
from trustjax.scores._oracle import ORACLE_OUTPUT as ORACLE_OUTPUT
from trustjax.scores._oracle import oracle as oracle
from trustjax.scores._perturbation import odin as odin
from trustjax.scores._purview import purview as purview
from trustjax.scores._react import REACT_STATE as REACT_STATE
from trustjax.scores._react import ReactState as ReactState
from trustjax.scores._react import fit_react as fit_react
from trustjax.scores._react import react as react
from trustjax.scores._registry import baseline as baseline
from trustjax.scores._registry import lookup as lookup
from trustjax.scores._registry import markdown_table as markdown_table
from trustjax.scores._registry import names as names
from trustjax.scores._registry import register as register
from trustjax.scores._registry import unregister as unregister
from trustjax.scores._score import Score as Score
from trustjax.scores._shaped import ash as ash
from trustjax.scores._shaped import scaled_energy as scaled_energy
from trustjax.scores._vim import VIM_STATE as VIM_STATE
from trustjax.scores._vim import VimState as VimState
from trustjax.scores._vim import fit_vim as fit_vim
from trustjax.scores._vim import vim as vim
