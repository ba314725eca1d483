"""Datasets by name, or of own files, as fixed-shape batches.

In: a name, a folder of images, arrays. Out: records at random access (`Dataset`), and
batches of one shape. Read with Grain and Pillow, never with TensorFlow.
"""

from trustjax.data._batches import batches as batches
from trustjax.data._conversion import convert as convert
from trustjax.data._conversion import out_of_distribution as out_of_distribution
from trustjax.data._corruptions import CORRUPTIONS as CORRUPTIONS
from trustjax.data._corruptions import SEVERITIES as SEVERITIES
from trustjax.data._corruptions import VALIDATION_CORRUPTIONS as VALIDATION_CORRUPTIONS
from trustjax.data._corruptions import corrupt as corrupt
from trustjax.data._corruptions import corrupted as corrupted
from trustjax.data._corruptions import corruptions_named as corruptions_named
from trustjax.data._dataset import NO_CLASS as NO_CLASS
from trustjax.data._dataset import ArraySource as ArraySource
from trustjax.data._dataset import Dataset as Dataset
from trustjax.data._dataset import as_arrays as as_arrays
from trustjax.data._dataset import from_arrays as from_arrays
from trustjax.data._duplicates import Shared as Shared
from trustjax.data._duplicates import shared_images as shared_images
from trustjax.data._image_files import file_names as file_names
from trustjax.data._image_files import from_files as from_files
from trustjax.data._images import UnreadableImageError as UnreadableImageError
from trustjax.data._kept import kept as kept
from trustjax.data._own import KINDS as KINDS
from trustjax.data._own import is_own as is_own
from trustjax.data._own import short_name as short_name
from trustjax.data._prepared import preprocessed as preprocessed
from trustjax.data._prepared import relabelled as relabelled
from trustjax.data._registry import load as load
from trustjax.data._registry import load_splits as load_splits
from trustjax.data._registry import names as names
from trustjax.data._registry import require_known as require_known
from trustjax.data._selected import labels as labels
from trustjax.data._selected import some as some
