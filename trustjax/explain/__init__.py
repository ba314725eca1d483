"""Why this prediction? Maps over an image, and how far to believe them.

In come `apply_fn`, `params` and a batch of images `[batch, height, width, channels]`
or clips `[batch, frames, height, width, channels]`; out go maps `[batch, height,
width]`, raw, one number for each pixel: larger = more of what was asked lies there.
`normalized` puts them into [0, 1].

What a map explains is its `target`: the predicted class, another one, many at once, the
difference of two (`class_difference`), a loss, or any function of the logits, such as
a trust score of `trustjax.scores`.

Maps of the features (`grad_cam` and its kin) say which positions of the last feature
map speak for it; contrasts of these why P, rather than Q (`contrast_cam`), what speaks
against P (`counterfactual_cam`, `why_not_certain`) and for nothing else (`causal_cam`).

Maps of gradients by the images (`saliency` and its kin, `integrated_gradients`,
`smooth_grad`) have the shape of x, of any x, and are signed; `over_channels` makes one
number for each pixel of them.

Maps of what the network says while random parts are masked (`rise`, `shape`, both at
once with `rise_and_shape`) ask for no gradient; they are averages, and come with their
standard error, an `Estimate`.

How far to believe a map: how much its contrasts differ (`voice`); what the network says
while pixels are shown or hidden in its order (`insertion_curve`, `deletion_curve`), or
structures (`structure_curve`); whether it is right, or sure, on what the map lets
through (`masking_accuracy`, `average_drop`); whether the map points at an object
(`pointing_game`, `energy_in_box`).
"""

from trustjax.explain._baseline import filled as filled
from trustjax.explain._bits import huffman_bits as huffman_bits
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
from trustjax.explain._curves import Curve as Curve
from trustjax.explain._curves import deletion_curve as deletion_curve
from trustjax.explain._curves import insertion_curve as insertion_curve
from trustjax.explain._estimate import Estimate as Estimate
from trustjax.explain._faithfulness import AverageDrop as AverageDrop
from trustjax.explain._faithfulness import MaskingAccuracy as MaskingAccuracy
from trustjax.explain._faithfulness import average_drop as average_drop
from trustjax.explain._faithfulness import masking_accuracy as masking_accuracy
from trustjax.explain._gradient_maps import deconvolution as deconvolution
from trustjax.explain._gradient_maps import guided_backprop as guided_backprop
from trustjax.explain._gradient_maps import guided_grad_cam as guided_grad_cam
from trustjax.explain._gradient_maps import input_times_gradient as input_times_gradient
from trustjax.explain._gradient_maps import over_channels as over_channels
from trustjax.explain._gradient_maps import saliency as saliency
from trustjax.explain._integrated_gradients import (
    IntegratedGradients as IntegratedGradients,
)
from trustjax.explain._integrated_gradients import (
    integrated_gradients as integrated_gradients,
)
from trustjax.explain._localisation import energy_in_box as energy_in_box
from trustjax.explain._localisation import pointing_accuracy as pointing_accuracy
from trustjax.explain._localisation import pointing_game as pointing_game
from trustjax.explain._maps import normalized as normalized
from trustjax.explain._maps import resized as resized
from trustjax.explain._masks import random_masks as random_masks
from trustjax.explain._method import Answer as Answer
from trustjax.explain._method import Method as Method
from trustjax.explain._method import Question as Question
from trustjax.explain._methods import METHODS as METHODS
from trustjax.explain._methods import markdown_table as markdown_table
from trustjax.explain._occlusion import occlusion as occlusion
from trustjax.explain._randomisation import (
    ParameterRandomisation as ParameterRandomisation,
)
from trustjax.explain._randomisation import (
    parameter_randomisation as parameter_randomisation,
)
from trustjax.explain._rise import RiseAndShape as RiseAndShape
from trustjax.explain._rise import rise as rise
from trustjax.explain._rise import rise_and_shape as rise_and_shape
from trustjax.explain._rise import shape as shape
from trustjax.explain._smooth_grad import smooth_grad as smooth_grad
from trustjax.explain._structure import THRESHOLDS as THRESHOLDS
from trustjax.explain._structure import StructureCurve as StructureCurve
from trustjax.explain._structure import structure_curve as structure_curve
from trustjax.explain._structure import structure_curve_of as structure_curve_of
from trustjax.explain._target import Target as Target
from trustjax.explain._target import class_difference as class_difference
from trustjax.explain._target import loss as loss
from trustjax.explain._voice import Voice as Voice
from trustjax.explain._voice import voice as voice
