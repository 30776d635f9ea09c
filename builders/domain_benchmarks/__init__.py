"""Benchmarks of law, finance, science and code, from their own files, as data sets."""

from .code_problems import CodeProblemsConfig
from .exams import FinanceIQConfig, FinEvalConfig
from .lawbench import LawBenchConfig
from .scieval import SciEvalConfig

__all__ = ["CodeProblemsConfig", "FinEvalConfig", "FinanceIQConfig", "LawBenchConfig", "SciEvalConfig"]
