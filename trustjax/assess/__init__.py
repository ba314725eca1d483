"""Per-example arrays in, every number and curve of a trust report out."""

from trustjax.assess._predictions import GradientTable as GradientTable
from trustjax.assess._predictions import Predictions as Predictions
from trustjax.assess._predictions import read_predictions as read_predictions
