"""Datasets by name, as fixed-shape batches: read with Grain, never with TensorFlow."""

from trustjax.data._batches import batches as batches
from trustjax.data._conversion import convert as convert
from trustjax.data._conversion import out_of_distribution as out_of_distribution
from trustjax.data._corruptions import CORRUPTIONS as CORRUPTIONS
from trustjax.data._corruptions import corrupt as corrupt
from trustjax.data._corruptions import corrupted as corrupted
from trustjax.data._dataset import NO_CLASS as NO_CLASS
from trustjax.data._dataset import Dataset as Dataset
from trustjax.data._dataset import as_arrays as as_arrays
from trustjax.data._dataset import from_arrays as from_arrays
from trustjax.data._registry import load as load
from trustjax.data._registry import names as names
from trustjax.data._registry import require_known as require_known
