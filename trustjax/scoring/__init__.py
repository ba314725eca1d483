"""One forward, one backward, every score: batches in, per-example results out.

    scorer = scoring.Scorer(["grad_trust", "knn_distance"], model, params)
    scorer = scorer.fit(training_batches)
    results = scorer.run(test_batches)

In come scores and what they are made of (`scores`, `ingredients`), a network, and
batches, of `data` or of arrays at hand (`batches`); out go arrays, one row per record,
for `metrics` and `assess`.
"""

from trustjax._fingerprint import fingerprint as fingerprint
from trustjax.scoring._arrays import from_arrays as from_arrays
from trustjax.scoring._batch import Batch as Batch
from trustjax.scoring._plan import plan as plan
from trustjax.scoring._plan import score_batch as score_batch
from trustjax.scoring._rows import batches as batches
from trustjax.scoring._rows import dealt as dealt
from trustjax.scoring._scorer import Results as Results
from trustjax.scoring._scorer import Scorer as Scorer
from trustjax.scoring._scorer import run as run
