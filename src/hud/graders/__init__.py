"""Reusable scoring for templates: text checks, weighted combination, shell and judge graders.

Usable inside any template's grade phase; knows nothing of environments, runs or stores. The model
SDK is imported only when a judge is called.
"""

from hud.graders.base import Grader
from hud.graders.bash import BashGrader
from hud.graders.combine import combine, combine_all, combine_any
from hud.graders.judge import LLMJudgeGrader
from hud.graders.pytest_grader import PytestGrader
from hud.graders.result import EvaluationResult, SubScore
from hud.graders.text import (
    contains,
    contains_all,
    contains_any,
    exact_match,
    f1_score,
    normalize,
    numeric_match,
)

__all__ = [
    "BashGrader",
    "EvaluationResult",
    "Grader",
    "LLMJudgeGrader",
    "PytestGrader",
    "SubScore",
    "combine",
    "combine_all",
    "combine_any",
    "contains",
    "contains_all",
    "contains_any",
    "exact_match",
    "f1_score",
    "normalize",
    "numeric_match",
]
