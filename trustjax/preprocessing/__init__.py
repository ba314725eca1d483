"""What becomes of an image before a network sees it: it belongs to the weights.

A network that was trained on images of 224x224 pixels, less the mean of ImageNet, is of
no use on others. A `Preprocessing` is that knowledge as one value: geometry on the host
(`on_host`), numbers in front of the network (`normalized`), a line of text for the
command (`parse`, `str`).
"""

from trustjax.preprocessing._preprocessing import PRESETS as PRESETS
from trustjax.preprocessing._preprocessing import Preprocessing as Preprocessing
from trustjax.preprocessing._text import parse as parse
