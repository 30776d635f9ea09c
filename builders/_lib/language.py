"""The language of a text as far as its script tells it."""

import re

UNKNOWN = "und"  # ISO 639's word for undetermined
_LETTER = re.compile(r"[^\W\d_]")
# (code, script, letters that only this one of the script's languages has, letters that only the others have)
_SCRIPTS: tuple[tuple[str, str, str, str], ...] = (
    ("ja", r"[\u3040-\u30ff]", "", ""), ("ko", r"[\uac00-\ud7a3\u1100-\u11ff]", "", ""),
    ("zh", r"[\u3400-\u9fff]", "", ""),
    ("ar", r"[\u0600-\u06ff]", "", "[ٹپچڈڑژکگںھہیے]"),
    ("ru", r"[\u0400-\u04ff]", "[ЁЫЭыэё]", r"[\u0402-\u040f\u0452-\u045f\u0490-\u04ff]"),
    ("el", r"[\u0370-\u03ff]", "", ""), ("he", r"[\u0590-\u05ff]", "", ""), ("th", r"[\u0e00-\u0e7f]", "", ""),
    ("hy", r"[\u0530-\u058f]", "", ""), ("ka", r"[\u10a0-\u10ff]", "", ""),
)  # fmt: skip


def language_of(text: str, other: str | None = None) -> str:
    """A code that the script tells, else `other`, else "und": French and English are both written in Latin letters.

    A tenth of the letters tells the script, since names and code in Latin letters stand in every text (kana: a
    twentieth, before the Han characters that Japanese shares with Chinese). Cyrillic and Arabic script are Russian and
    Arabic if their letters say so, else "und".
    """
    if text.isascii():
        return other or UNKNOWN
    letters = len(_LETTER.findall(text))
    for code, script, own, foreign in _SCRIPTS:
        share = len(re.findall(script, text)) / max(letters, 1)
        if share >= (0.05 if code == "ja" else 0.1):
            matches = (not own or re.search(own, text)) and not (foreign and re.search(foreign, text))
            return code if matches else UNKNOWN
    return other or UNKNOWN
