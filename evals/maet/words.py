"""The words around a word problem, by language, and the form of the sentence with its answer.

Question and answer words, stop words and patterns are those of lm-eval 0.4.13's `mgsm_native_cot_*` and
`mgsm_direct_*` tasks, to the letter. Ours: digits of any script count, and Bengali also has the sentence of MGSM's own
examples.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

# Digits of every script, where upstream has 0-9 alone.
_NUMBER = r"(-?[\d.,]+)"
# The last number of a reply, with its dollar sign. As upstream, dots and commas in a row are taken for one.
FLEXIBLE = r"(-?[$\d.,]{2,})|(-?\d+)"


@dataclass(frozen=True)
class Words:
    """One language: the word before a `question`, before a solution (`steps`) and before a bare answer (`direct`), and
    what stands around the number in the sentence with the answer (`before`, or `also`; `after`; `end`, which is not
    looked for).
    """

    question: str
    steps: str
    direct: str
    before: str
    after: str = ""
    end: str = "."
    also: str = ""

    @property
    def strict(self) -> str:
        """Pattern of the sentence, with the number as its one group."""
        begins = "|".join(re.escape(text) for text in (self.before, self.also) if text)
        return f"(?:{begins}){_NUMBER}{self.after}"

    def sentence(self, answer: str) -> str:
        return f"{self.before}{answer}{self.after}{self.end}"


_PATH = Path(__file__).with_suffix(".yaml")
WORDS = {name: Words(**words) for name, words in yaml.safe_load(_PATH.read_text(encoding="utf-8")).items()}

# What ends a reply besides the next question, as upstream.
STOPS = ("</s>", "<|im_end|>")
