"""What the model reads: pieces, packed rows, labels, streams and tokenizers."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pretrain_parts import documents, save, sequences
from trainer_parts import make_tokenizer

from hubwright.hub_sync.errors import DataError, UsageError
from hubwright.trainers._lib.stream import PackedStream, shuffled
from hubwright.trainers.pretrain import data, tokenizer

UNSCORED = data.UNSCORED


@pytest.fixture(scope="module")
def words() -> Any:
    return tokenizer.words([*documents(200), *sequences(200)], None, 64)


def reader(words: Any, length: int = 64, scored: bool = False, bos: bool = False) -> data.Reader:
    return data.Reader(words, length, scored, bos, "org/data@1")


def dataset(rows: list[dict[str, Any]]) -> Any:
    from datasets import Dataset

    return Dataset.from_list(rows)


@pytest.mark.parametrize("bos", [False, True])
def test_every_token_but_the_first_is_predicted_once_however_long_the_document(words: Any, bos: bool) -> None:
    read = reader(words, length=8, bos=bos)
    rows = documents(40, seed=3)
    made = read({"text": [row["text"] for row in rows] + ["", None]})
    documents_back: list[list[list[int]]] = []
    for ids, first in zip(made["input_ids"], made["first"], strict=True):
        assert 2 <= len(ids) <= 8
        if first:
            documents_back.append([])
        documents_back[-1].append(ids)
    assert len(documents_back) == len(rows)  # the two without text are left out
    for row, windows in zip(rows, documents_back, strict=True):
        whole = [words.bos_token_id] * bos + words.encode(row["text"], add_special_tokens=False) + [words.eos_token_id]
        assert [token for window in windows for token in window[1:]] == whole[1:]
        assert windows[0][0] == whole[0]
        for before, after in itertools.pairwise(windows):
            assert after[0] == before[-1]


def test_packed_rows_hold_every_piece_whole_and_labels_stop_at_its_end(words: Any) -> None:
    read = reader(words)
    pieces = data.tokenise(dataset(documents(300)), read)
    rows = data.pack(pieces, read, packing=True)
    batch = data.Collator(pad=0, width=64)(list(rows))
    assert batch["input_ids"].shape == (len(rows), 64) and batch["labels"] is batch["shift_labels"]
    assert int(batch["tokens"].sum()) == sum(len(ids) for ids in pieces["input_ids"])
    assert 1 - int(batch["tokens"].sum()) / batch["input_ids"].numel() < 0.02  # best fit leaves little over
    found = []
    for number, row in enumerate(rows):
        position = 0
        for length in row["seq_lengths"]:
            ids = batch["input_ids"][number, position : position + length].tolist()
            labels = batch["labels"][number, position : position + length].tolist()
            assert labels == [*ids[1:], UNSCORED]
            places = batch["position_ids"][number, position : position + length].tolist()
            assert places == list(range(length))
            found.append(ids)
            position += length
        assert (batch["labels"][number, position:] == UNSCORED).all()
    assert sorted(found) == sorted(pieces["input_ids"])
    counts = data.count(300, pieces, rows, read, "train")
    assert counts["train_tokens"] == int(batch["tokens"].sum())
    assert counts["train_scored_tokens"] == int((batch["labels"] != UNSCORED).sum())


def test_targets_are_labels_where_they_stand(words: Any) -> None:
    read = reader(words, scored=True)
    rows = [*sequences(20, seed=1), {"text": "n1 n3", "targets": ["", ""]}]
    pieces = data.tokenise(dataset(rows), read)
    assert len(pieces) == sum(any(row["targets"]) for row in rows) < len(rows)
    for packing in (False, True):
        made = data.pack(pieces, read, packing)
        batch = data.Collator(pad=0)(list(made))
        back = []
        for number, row in enumerate(made):
            ids, labels = batch["input_ids"][number].tolist(), batch["labels"][number].tolist()
            start = 0
            for length in row["seq_lengths"]:
                cut = slice(start, start + length)
                back.append(
                    (
                        words.convert_ids_to_tokens(ids[cut]),
                        [words.convert_ids_to_tokens(x) if x >= 0 else "" for x in labels[cut]],
                    )
                )
                start += length
        expected = [(row["text"].split(), row["targets"]) for row in rows if any(row["targets"])]
        assert sorted(back) == sorted(expected)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": "n1 n2", "targets": ["n2"]}, "has 2 words and 1 targets"),
        ({"text": "n1  n2", "targets": ["n2", "", ""]}, "separate words by single spaces"),
        ({"text": "n1 n2", "targets": ["unheard", ""]}, "the target 'unheard' is not one token"),
        ({"text": " ".join(["n1"] * 65), "targets": ["n1"] * 65}, "65 words, max_length is 64: raise it"),
    ],
)
def test_scored_rows_that_cannot_be_used_are_refused_in_one_line(words: Any, row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        reader(words, scored=True)({key: [value] for key, value in row.items()})
    assert "\n" not in str(caught.value) and "org/data@1" in str(caught.value)


def test_tokenizers_that_cut_words_are_refused_for_targets_and_others_taken() -> None:
    row = {"text": ["n1 n2"], "targets": [["n2", ""]]}
    with pytest.raises(DataError, match="2 words and 5 tokens, and targets need one token for each word"):
        reader(make_tokenizer(), scored=True)(row)
    whole = tokenizer.bpe([{"text": "red green blue " * 50}], 300, 64)
    made = reader(whole, scored=True)({"text": ["red green"], "targets": [["blue", ""]]})
    assert whole.decode(made["labels"][0][0]) == " blue" and len(made["input_ids"][0]) == 2


def test_tokenizers_without_what_is_needed_are_refused(words: Any) -> None:
    bare = make_tokenizer()
    with pytest.raises(UsageError, match="add_bos: the tokenizer has no bos token"):
        reader(bare, bos=True)
    with pytest.raises(UsageError, match="add_bos: rows with `targets`"):
        reader(words, scored=True, bos=True)
    bare.eos_token = None
    with pytest.raises(UsageError, match="no eos token"):
        reader(bare)


def test_columns_are_checked() -> None:
    assert data.check_columns(dataset(sequences(2)), "d") and not data.check_columns(dataset(documents(2)), "d")
    with pytest.raises(DataError, match="d has no column `text`: its columns are body"):
        data.check_columns(dataset([{"body": "a"}]), "d")
    with pytest.raises(DataError, match="column `text` is"):
        data.check_columns(dataset([{"text": 1}]), "d")
    with pytest.raises(DataError, match="column `targets` is"):
        data.check_columns(dataset([{"text": "a", "targets": [1]}]), "d")


# ---- streams


def stream(folder: Path, words: Any, block: int = 10, ahead: int = 1000, seed: int = 5) -> PackedStream:
    import datasets

    read = reader(words, length=32)
    rows = datasets.load_dataset(str(folder), split="train", streaming=True).select_columns(["text"])
    packed = data.pack(data.tokenise(rows, read), read, packing=True)
    return PackedStream(lambda turn: shuffled(packed, seed, turn, block), ahead)


def test_a_stream_has_the_rows_of_a_cached_data_set_in_an_order_of_its_own(
    words: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "BLOCK", 40)
    rows = documents(110)
    folder = save(tmp_path, files=3, train=rows)
    read = reader(words, length=32)
    cached = [row["input_ids"] for row in data.pack(data.tokenise(dataset(rows), read), read, packing=True)]
    size = len(cached)
    taken = [row["input_ids"] for row in itertools.islice(stream(folder, words), 2 * size)]
    first, second = taken[:size], taken[size:]
    assert sorted(first) == sorted(second) == sorted(cached)
    assert first != second and first != cached
    unshuffled = [row["input_ids"] for row in itertools.islice(stream(folder, words, block=1), size)]
    assert unshuffled == cached
    assert [row["input_ids"] for row in itertools.islice(stream(folder, words), size)] == first
    assert [row["input_ids"] for row in itertools.islice(stream(folder, words, seed=6), size)] != first


def test_a_stream_goes_on_exactly_where_it_was_left_at_any_row_and_pass(
    words: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "BLOCK", 10)
    folder = save(tmp_path / "data", files=2, train=documents(25))
    whole = stream(folder, words)
    rows = [row["input_ids"] for row in itertools.islice(whole, 45)]
    last = whole.place(45)["pass"]
    assert last >= 1
    for number in range(1, 46):
        checkpoint = tmp_path / str(number)
        checkpoint.mkdir()
        whole.save(checkpoint, number)
        again = stream(folder, words)
        again.restore(checkpoint)
        assert [row["input_ids"] for row in itertools.islice(again, 45 - number)] == rows[number:], number
        if number < 45:
            assert again.place(45)["pass"] == last


def test_a_stream_without_anything_to_learn_ends(words: Any, tmp_path: Path) -> None:
    folder = save(tmp_path, train=[{"text": ""}, {"text": ""}])
    with pytest.raises(DataError, match="no row that could be trained on"):
        next(iter(stream(folder, words)))


# ---- tokenizers


def test_words_are_whole_sorted_and_known() -> None:
    rows = [{"text": "b a a", "targets": ["z", "", ""]}, {"text": None}]
    made = tokenizer.words(rows, None, 16)
    assert made.convert_ids_to_tokens(range(len(made))) == ["<pad>", "<s>", "</s>", "<unk>", "a", "b", "z"]
    assert made.encode("a b elsewhere") == [4, 5, 3]
    assert tokenizer.words(rows, 5, 16).get_vocab().keys() == {"<pad>", "<s>", "</s>", "<unk>", "a"}


@pytest.mark.parametrize("kind", ["words", "bpe"])
def test_saved_tokenizers_load_beside_a_llama_and_encode_pairs_as_lm_eval_does(kind: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, LlamaConfig

    rows = documents(200)
    made = tokenizer.words(rows, None, 16) if kind == "words" else tokenizer.bpe(rows, 400, 16)
    made.save_pretrained(tmp_path)
    LlamaConfig(vocab_size=len(made)).save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    texts = [row["text"] for row in rows[:20]]
    for text in texts:
        assert loaded.encode(text) == loaded.encode(text, add_special_tokens=False) == made.encode(text)
        assert loaded.decode(loaded.encode(text)) == text
        context, _, word = text.rpartition(" ")
        if context:
            assert loaded.encode(context) + loaded.encode(" " + word) == loaded.encode(context + " " + word)
    assert (loaded.pad_token_id, loaded.bos_token_id, loaded.eos_token_id) == (0, 1, 2)
    assert len(loaded) == len(made) and loaded.model_max_length == 16


@pytest.fixture(scope="module")
def trained_twice(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders of the tokenizers of two processes with other hashes of strings and other numbers of threads."""
    code = (
        "import sys; from pathlib import Path; from pretrain_parts import documents;"
        "from hubwright.trainers.pretrain import tokenizer as t; folder = Path(sys.argv[1]);"
        "t.words(documents(300), None, 16).save_pretrained(folder / 'words');"
        "t.bpe(documents(300), 400, 16).save_pretrained(folder / 'bpe')"
    )
    folders = []
    for number in (1, 2):
        environment = os.environ | {"PYTHONHASHSEED": str(number), "PYTHONPATH": str(Path(__file__).parents[1])}
        environment["RAYON_NUM_THREADS"] = str(number)
        environment["TOKENIZERS_PARALLELISM"] = "true"
        folders.append(tmp_path_factory.mktemp(f"trained-{number}"))
        subprocess.run([sys.executable, "-c", code, str(folders[-1])], env=environment, check=True)
    return folders


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["words", "bpe"])
def test_tokenizers_have_the_same_bytes_in_every_process(kind: str, trained_twice: list[Path]) -> None:
    first, second = ((folder / kind / "tokenizer.json").read_bytes() for folder in trained_twice)
    assert first == second


def test_collator_pads_to_its_longest_row_and_what_is_padded_changes_nothing(words: Any) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    net = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4
        )
    ).eval()
    rows = [{"input_ids": [5, 6, 7], "seq_lengths": [3]}, {"input_ids": [8, 9, 10, 11, 12], "seq_lengths": [5]}]
    batch = data.Collator(pad=0)(rows)
    assert batch["input_ids"].shape == (2, 5) and batch["position_ids"][0].tolist() == [0, 1, 2, 3, 4]
    with torch.no_grad():
        both = net(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits
        alone = net(input_ids=torch.tensor([[5, 6, 7]])).logits
    assert (both[0, :3] - alone[0]).abs().max() <= 1e-6


SPELT = "Strike <s>this</s> out <|im_end|> and <unk> end"


def test_control_tokens_spelt_in_documents_stay_text() -> None:
    """The tokens are those of transformers' `split_special_tokens`, and decode to what was written."""
    bytes_alone = make_tokenizer()
    expected = bytes_alone(SPELT, split_special_tokens=True, add_special_tokens=False)["input_ids"]
    ids = data.Reader(make_tokenizer(), 400, False, False, "org/data")({"text": [SPELT]})["input_ids"]
    assert ids == [[*expected, bytes_alone.eos_token_id]]
    assert bytes_alone.eos_token_id not in expected and bytes_alone.decode(expected) == SPELT


@pytest.mark.parametrize("kind", ["bpe", "words"])
def test_tokenizer_trained_on_control_tokens_reads_them_as_text(kind: str) -> None:
    rows = [{"text": SPELT}] * 50
    trained = tokenizer.bpe(rows, 300, 64) if kind == "bpe" else tokenizer.words(rows, None, 64)
    ids = data.Reader(trained, 400, False, False, "org/data")({"text": [SPELT, "x </s>"]})["input_ids"]
    controls = {trained.pad_token_id, trained.bos_token_id, trained.eos_token_id}
    for document in ids:
        assert document[-1] == trained.eos_token_id and controls.isdisjoint(document[:-1])
    if kind == "words":  # a whole word that is not of the vocabulary
        assert ids[1][1] == trained.unk_token_id
    else:
        assert trained.decode(ids[0][:-1]) == SPELT
    # What is published reads as before: the flag is none of the tokenizer's own.
    assert "encode_special_tokens" not in trained.backend_tokenizer.to_str()


def test_target_that_is_a_control_token_is_refused() -> None:
    trained = tokenizer.words([{"text": "a b", "targets": ["b", ""]}], None, 64)
    with pytest.raises(DataError, match="the target '</s>' is not one token of the vocabulary"):
        data.Reader(trained, 64, True, False, "org/data")({"text": ["a b"], "targets": [["</s>", ""]]})
