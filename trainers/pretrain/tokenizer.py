"""Tokenizers trained on the train split: one token per word, or byte-level BPE. Both load with AutoTokenizer.

No token is added on its own (no bos, no eos), so a text and the same text cut in two encode alike, as lm-eval's pairs
of context and continuation need. The special tokens have the same ids in every tokenizer made here.
"""

import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from ...hub_sync.context import StepContext
from ...hub_sync.errors import UsageError
from ...hub_sync.files import fsync_path
from .._lib import model as _model
from .config import BPE_SIZE, PretrainConfig

PAD, BOS, EOS, UNKNOWN = SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")


def load(config: PretrainConfig, context: StepContext, rows: Iterable[dict[str, Any]]) -> Any:
    """The tokenizer that `config.tokenizer` asks for.

    Args:
        rows: the train split: `text` and perhaps `targets`. Read only where a tokenizer is trained, once: the result
            is kept in the work folder, and a resumed run takes it from there.

    Raises UsageError where there is none to reuse, DataError where it cannot be read.
    """
    settings = config.tokenizer
    if settings.kind == "reuse":
        role = next((role for role in ("tokenizer", "model") if role in context.inputs), None)
        if role is None:
            raise UsageError(
                f"step {context.step}: there is no tokenizer to reuse: give a `tokenizer:` input, or set tokenizer "
                "kind: bpe or words"
            )
        tokenizer = _model.read_tokenizer(context, role)
        if not tokenizer.is_fast:
            raise UsageError(
                f"the tokenizer of {context.inputs[role].ref} has no tokenizer.json: only fast tokenizers can be used"
            )
        return tokenizer
    folder = context.workdir / "tokenizer"
    if not folder.is_dir():
        make = words if settings.kind == "words" else bpe
        _save(make(rows, settings.vocab_size, config.max_length), folder)
    return AutoTokenizer.from_pretrained(str(folder))


def words(rows: Iterable[dict[str, Any]], size: int | None, window: int) -> Any:
    """One token per whitespace-separated word of texts and targets, in the order of their code points.

    Args:
        size: keep the most frequent words so that there are at most this many tokens; of two equally frequent ones the
            first in order stays. None: all.
        window: becomes `model_max_length`.
    """
    counts: Counter[str] = Counter()
    for row in rows:
        counts.update((row["text"] or "").split())
        counts.update(target for target in row.get("targets") or () if target)
    for special in SPECIALS:
        counts.pop(special, None)
    vocabulary = sorted(counts)
    if size is not None:
        vocabulary = sorted(sorted(vocabulary, key=lambda word: -counts[word])[: size - len(SPECIALS)])
    ids = {token: number for number, token in enumerate([*SPECIALS, *vocabulary])}
    core = Tokenizer(models.WordLevel(vocab=ids, unk_token=UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _wrap(core, window)


def bpe(rows: Iterable[dict[str, Any]], size: int | None, window: int) -> Any:
    """Byte-level BPE with GPT-2's pre-tokenisation (our choice): every text can be written, nothing is unknown."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size or BPE_SIZE,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    core.train_from_iterator((row["text"] or "" for row in rows), trainer)
    return _wrap(core, window)


def _wrap(core: Any, window: int) -> Any:
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        unk_token=UNKNOWN,
        model_max_length=window,
        clean_up_tokenization_spaces=False,
    )


def _save(tokenizer: Any, folder: Path) -> None:
    """Write it whole or not at all: a folder that a kill left half-written has another name."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    tokenizer.save_pretrained(partial)
    for path in partial.iterdir():
        fsync_path(path)
    partial.replace(folder)
    fsync_path(folder.parent)
