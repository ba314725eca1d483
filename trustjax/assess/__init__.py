"""Per-example arrays in, every number and curve of a page out."""

from trustjax.assess._assess import assess as assess
from trustjax.assess._assessment import Assessment as Assessment
from trustjax.assess._assessment import ClassOrder as ClassOrder
from trustjax.assess._assessment import ClassTrust as ClassTrust
from trustjax.assess._assessment import Curve as Curve
from trustjax.assess._assessment import GradientSeparation as GradientSeparation
from trustjax.assess._assessment import Mistake as Mistake
from trustjax.assess._assessment import Quantity as Quantity
from trustjax.assess._assessment import Reliability as Reliability
from trustjax.assess._assessment import ScoreAssessment as ScoreAssessment
from trustjax.assess._assessment import ShiftNumbers as ShiftNumbers
from trustjax.assess._assessment import Shifts as Shifts
from trustjax.assess._compare import compare as compare
from trustjax.assess._networks import ClassComparison as ClassComparison
from trustjax.assess._networks import NetworkAssessment as NetworkAssessment
from trustjax.assess._networks import NetworkComparison as NetworkComparison
from trustjax.assess._predictions import Images as Images
from trustjax.assess._predictions import Predictions as Predictions
from trustjax.assess._predictions import Shifted as Shifted
from trustjax.assess._predictions import arrays_of as arrays_of
from trustjax.assess._predictions import read_predictions as read_predictions
from trustjax.assess._scores import all_scores as all_scores
