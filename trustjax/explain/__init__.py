"""Why this prediction? Maps over an image, and how far to believe them.

In come `apply_fn`, `params` and a batch of images `[batch, height, width, channels]`
or clips `[batch, frames, height, width, channels]`; out go maps `[batch, height,
width]`, raw, one number for each pixel: larger = more of what was asked lies there.
`normalized` puts them into [0, 1].

What a map explains is its `target`: the predicted class, another one, many at once, the
difference of two (`class_difference`), a loss, or any function of the logits, such as
a trust score of `trustjax.scores`.

How far to believe a map: whether it points at an object (`pointing_game`,
`energy_in_box`).
"""

from trustjax.explain._cam import grad_cam as grad_cam
from trustjax.explain._cam import grad_cam_plus_plus as grad_cam_plus_plus
from trustjax.explain._cam import hires_cam as hires_cam
from trustjax.explain._cam import layer_cam as layer_cam
from trustjax.explain._class_maps import class_maps as class_maps
from trustjax.explain._contrast import CausalCam as CausalCam
from trustjax.explain._contrast import causal_cam as causal_cam
from trustjax.explain._contrast import contrast_cam as contrast_cam
from trustjax.explain._contrast import counterfactual_cam as counterfactual_cam
from trustjax.explain._contrast import why_not_certain as why_not_certain
from trustjax.explain._localisation import energy_in_box as energy_in_box
from trustjax.explain._localisation import pointing_accuracy as pointing_accuracy
from trustjax.explain._localisation import pointing_game as pointing_game
from trustjax.explain._maps import normalized as normalized
from trustjax.explain._maps import resized as resized
from trustjax.explain._target import Target as Target
from trustjax.explain._target import class_difference as class_difference
from trustjax.explain._target import loss as loss
