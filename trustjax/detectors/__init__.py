"""Detectors: models fitted on scores and statistics of gradients, right against wrong.

    names = detectors.names_for(params, scores=["max_softmax", "grad_trust"])
    columns = scoring.run(
        [detectors.features(names)], apply_fn, params, batches
    ).values["columns"]
    detector = detectors.fit("lasso", columns, correct)
    detectors.save(detector, "detector.npz")
    scoring.run(["detector"], apply_fn, params, test_batches,
                ingredients=detector.ingredients())

In come columns, each a named number per example, of two populations: right and wrong
answers, or known and unknown inputs. Out goes a score like any other. Whose answers are
right is known to the fit alone.
"""

from trustjax.detectors._columns import GRADIENTS as GRADIENTS
from trustjax.detectors._columns import Usable as Usable
from trustjax.detectors._columns import columns_of as columns_of
from trustjax.detectors._columns import statistic_of as statistic_of
from trustjax.detectors._columns import usable as usable
from trustjax.detectors._detector import KINDS as KINDS
from trustjax.detectors._detector import Detector as Detector
from trustjax.detectors._detector import coefficients as coefficients
from trustjax.detectors._detector import is_trusted as is_trusted
from trustjax.detectors._detector import score as score
from trustjax.detectors._features import features as features
from trustjax.detectors._features import names_for as names_for
from trustjax.detectors._files import load as load
from trustjax.detectors._files import save as save
from trustjax.detectors._fit import fit as fit
from trustjax.detectors._network import NetworkChoices as NetworkChoices
from trustjax.detectors._open_set import open_set_predict as open_set_predict
