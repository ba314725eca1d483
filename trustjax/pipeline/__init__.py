"""From a dataset's name to a trust report: train or load, score, assess, write."""

from trustjax.pipeline._config import ReportConfig as ReportConfig
from trustjax.pipeline._report import Report as Report
from trustjax.pipeline._report import predictions_report as predictions_report
from trustjax.pipeline._report import trust_report as trust_report
