"""Assessments and explanations as files: one page for people, others for programs."""

from trustjax.report._detected import DetectionPage as DetectionPage
from trustjax.report._detected import Feature as Feature
from trustjax.report._detected import Weight as Weight
from trustjax.report._explained import Curve as Curve
from trustjax.report._explained import ExplainedImage as ExplainedImage
from trustjax.report._explained import Explanations as Explanations
from trustjax.report._explained import Map as Map
from trustjax.report._explained import MistakeMaps as MistakeMaps
from trustjax.report._write import file_names as file_names
from trustjax.report._write import write as write
from trustjax.report._write import write_comparison as write_comparison
from trustjax.report._write import write_detection as write_detection
from trustjax.report._write import write_explanations as write_explanations
