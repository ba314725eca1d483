"""An assessment as files: one page for people, two files for programs."""

from trustjax.report._write import write as write
