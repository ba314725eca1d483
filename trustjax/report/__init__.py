"""An assessment as files: one page for people, the others for programs."""

from trustjax.report._write import write as write
from trustjax.report._write import write_comparison as write_comparison
