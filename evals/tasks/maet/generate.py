"""The YAML files of this folder that differ in a language only, and their groups.

python -m hubwright.evals.tasks.maet.generate
"""

from pathlib import Path

from ..._lib.task_files import group_file, task_file, write

LANGUAGES = {
    "mgsm": ("bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh"),
    "msvamp": ("bn", "de", "en", "es", "fr", "ja", "ru", "sw", "th", "zh"),
    "exams": ("ar", "bg", "de", "es", "fr", "hr", "hu", "it", "lt", "mk", "pl", "pt", "sq", "sr", "tr", "vi"),
    "general": ("en", "es", "fr"),
}
GENERATED = ("exact_match", "number_match")
CHOICE = ("acc", "acc_norm", "choice_loss", "loss_per_byte")
TEXT = ("bits_per_byte", "byte_perplexity", "word_perplexity")
MEAN = "The mean over the languages, each counted once."
# Family of tasks -> its languages, the file they include, its group, what the group averages and says.
FAMILIES = {
    "mgsm": ("mgsm", "_maet_generate", "mgsm", GENERATED, MEAN),
    "mgsm_ll": ("mgsm", "_maet_number_choice", "mgsm_ll", CHOICE, MEAN),
    "msvamp": ("msvamp", "_maet_generate", "msvamp", GENERATED, MEAN),
    "msvamp_ll": ("msvamp", "_maet_number_choice", "msvamp_ll", CHOICE, MEAN),
    "exams": ("exams", "_maet_exams", "science", CHOICE, f"EXAMS answered by a letter. {MEAN}"),
    "exams_ll": ("exams", "_maet_exams_ll", "science_ll", CHOICE, f"EXAMS answered by an option's text. {MEAN}"),
    "general": ("general", "_maet_general", "general", TEXT, MEAN),
}


def files() -> dict[str, str]:
    """YAML text by task or group."""
    result = {}
    for family, (source, include, group, metrics, comment) in FAMILIES.items():
        tasks = {f"maet_{family}_{language}": language for language in LANGUAGES[source]}
        for task, language in tasks.items():
            name = language if source == "general" else f"{source}_{language}"
            result[task] = task_file(task, f"{include}.yaml", dataset_name=name)
        result[f"maet_{group}"] = group_file(f"maet_{group}", tasks, metrics, comment)
    for end, metrics in (("", GENERATED), ("_ll", CHOICE)):
        comment = "The mean over the tasks of both benchmarks, each language of each counted once."
        members = (f"maet_mgsm{end}", f"maet_msvamp{end}")
        result[f"maet_math{end}"] = group_file(f"maet_math{end}", members, metrics, comment)
    return result


if __name__ == "__main__":
    write(files(), Path(__file__).parent)
