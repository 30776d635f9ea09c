"""The words around a word problem, by language, and the form of the sentence with its answer.

Question and answer words, stop words and patterns are those of lm-eval 0.4.13's `mgsm_native_cot_*` and
`mgsm_direct_*` tasks, to the letter. Ours: digits of any script count, and Bengali also has the sentence of MGSM's own
examples.
"""

import re
from dataclasses import dataclass

# Digits of every script, where upstream has 0-9 alone.
_NUMBER = r"(-?[\d.,]+)"
# The last number of a reply, with its dollar sign. As upstream, dots and commas in a row are taken for one.
FLEXIBLE = r"(-?[$\d.,]{2,})|(-?\d+)"


@dataclass(frozen=True)
class Words:
    """One language.

    Attributes:
        question: the word before a question.
        steps: the word before a solution.
        direct: the word before a bare answer.
        before, after: what stands around the number in the sentence that gives the answer.
        end: how that sentence ends; not looked for.
        also: another beginning of the sentence that counts as well.
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
        """The sentence that gives an answer."""
        return f"{self.before}{answer}{self.after}{self.end}"


WORDS = {
    "bn": Words("প্রশ্ন:", "ধাপে ধাপে উত্তর:", "Answer:", "উত্তর হল ", end="।", also="The answer is "),
    "de": Words("Frage:", "Schritt-für-Schritt-Antwort:", "Antwort:", "Die Antwort lautet "),
    "en": Words("Question:", "Step-by-Step Answer:", "Answer:", "The answer is "),
    "es": Words("Pregunta:", "Respuesta paso a paso:", "Respuesta:", "La respuesta es "),
    "fr": Words("Question :", "Réponse étape par étape :", "Réponse :", "La réponse est "),
    "ja": Words("問題：", "ステップごとの答え:", "Answer:", "答えは", "です。", ""),
    "ru": Words("Задача:", "Пошаговоерешение:", "Answer:", "Ответ — "),
    "sw": Words("Swali:", "Jibu la Hatua kwa Hatua:", "Answer:", "Jibu ni "),
    "te": Words("ప్రశ్న:", "దశలవారీగా సమాధానం:", "Answer:", "సమాధానం "),
    "th": Words("โจทย์:", "คำตอบทีละขั้นตอน:", "Answer:", "คำตอบคือ ", end=""),
    "zh": Words("问题：", "逐步解答:", "Answer:", "答案是 ", "。", ""),
}

# What ends a reply besides the next question, as upstream.
STOPS = ("</s>", "<|im_end|>")
