"""From a dataset's name, or a file of predictions, to a finished report.

In: a config. On the way: datasets, a network trained or loaded, what the scores say of
every record. Out: a folder with the page, and the numbers on it.
"""

from trustjax.pipeline._attack_options import AttackOptions as AttackOptions
from trustjax.pipeline._compare import NetworkReport as NetworkReport
from trustjax.pipeline._compare import comparison_report as comparison_report
from trustjax.pipeline._config import ComparisonConfig as ComparisonConfig
from trustjax.pipeline._config import NetworkConfig as NetworkConfig
from trustjax.pipeline._config import PredictionsConfig as PredictionsConfig
from trustjax.pipeline._config import ReportConfig as ReportConfig
from trustjax.pipeline._convert import ConversionConfig as ConversionConfig
from trustjax.pipeline._convert import Converted as Converted
from trustjax.pipeline._convert import convert as convert
from trustjax.pipeline._dataset import Datasets as Datasets
from trustjax.pipeline._detect import Detected as Detected
from trustjax.pipeline._detect import detection as detection
from trustjax.pipeline._detect_config import ERRORS as ERRORS
from trustjax.pipeline._detect_config import DetectConfig as DetectConfig
from trustjax.pipeline._explain import Explained as Explained
from trustjax.pipeline._explain import explanations as explanations
from trustjax.pipeline._explain_config import ExplainConfig as ExplainConfig
from trustjax.pipeline._intervention_options import (
    InterventionOptions as InterventionOptions,
)
from trustjax.pipeline._oracle import OracleChoices as OracleChoices
from trustjax.pipeline._oracle import OracleMade as OracleMade
from trustjax.pipeline._oracle import OracleTrainingConfig as OracleTrainingConfig
from trustjax.pipeline._oracle import train_oracle as train_oracle
from trustjax.pipeline._page import Report as Report
from trustjax.pipeline._report import predictions_report as predictions_report
from trustjax.pipeline._report import report_on as report_on
from trustjax.pipeline._report import trust_report as trust_report
from trustjax.pipeline._second_stage_options import (
    SecondStageOptions as SecondStageOptions,
)
