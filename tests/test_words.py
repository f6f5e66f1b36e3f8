"""The words of the command line: parsed one by one, and every mistake refused with its mend."""

from tonestack import cli
from tonestack.base.errors import UserError, nearest
from tonestack.settings.words import Words, parse, parse_folds
from tune import TuneWords

import pytest

EVERY = {
    "data": ("fsdkaggle2018", "fsdkaggle2018"),
    "model": ("vgg_small,cnn1d", ("vgg_small", "cnn1d")),
    "preset": ("smoke", "smoke"),
    "fold": ("0..4", "0..4"),
    "name": ("mine_2.a-b", "mine_2.a-b"),
    "root": ("/some/where else", "/some/where else"),
    "scoring": ("a=b.csv", "a=b.csv"),
    "revision": ("pseudo1", "pseudo1"),
    "variant": ("music", "music"),
    "seed": ("3", 3),
    "device": ("cuda:1", "cuda:1"),
    "light": ("false", False),
    "engine": ("ray", "ray"),
    "jobs": ("2", 2),
    "gpu": ("0.25", 0.25),
    "cache": ("esc", "esc"),
}


def test_the_table_above_holds_every_word() -> None:
    assert set(EVERY) == set(Words.model_fields) - {"overrides"}


@pytest.mark.parametrize("word", EVERY)
def test_every_word_is_parsed(word: str) -> None:
    text, value = EVERY[word]
    assert getattr(parse([f"{word}={text}"]), word) == value


def test_tune_has_a_word_that_no_other_verb_has() -> None:
    mine, rest = cli._parted(["trials=5", "seed=3"], TuneWords)
    assert (TuneWords.parse(mine, "command line"), rest) == (TuneWords(trials=5), ["seed=3"])
    assert TuneWords().trials == 50
    for wrong in ("trials=0", "trials=one"):
        with pytest.raises(UserError, match="command line: 'trials': input should be"):
            TuneWords.parse(cli._parted([wrong], TuneWords)[0], "command line")
    with pytest.raises(UserError, match="unknown word 'trials='"):
        parse(["trials=5"])


def test_no_words_are_the_defaults() -> None:
    words = parse([])
    assert (words.data, words.model, words.fold, words.seed, words.overrides) == ("demo", None, None, 0, {})


def test_dotted_words_become_a_tree_of_typed_values() -> None:
    words = parse(["training.lr=0.1", "training.verified_only=true", "crop.short=pad", "network.channels=[4,8]"])
    assert words.overrides == {
        "training": {"lr": 0.1, "verified_only": True},
        "crop": {"short": "pad"},
        "network": {"channels": [4, 8]},
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["modle=vgg_small"], "unknown word 'modle='; did you mean 'model'?"),
        (["overrides=1"], "unknown word 'overrides='"),
        (["fold"], "'fold' is not key=value; did you mean 'fold'?"),
        (["=3"], "'=3' is not key=value"),
        (["data="], "'data=' has no value"),
        (["data=a", "data=b"], "'data=' is given twice"),
        (["training.lr=1", "training.lr=2"], "'training.lr=' is given twice"),
        (["training.lr=1", "training.lr.x=2"], "'training.lr.x=' contradicts another word that sets 'lr' as a whole"),
        (["training.lr.x=2", "training.lr=1"], "'training.lr=' is given twice, as a whole or in part"),
        (["training.lr=[1"], "'training.lr=[1', line 1: not valid YAML"),
        (["name=../elsewhere"], "'name=../elsewhere': use letters, digits"),
        (["name=.."], "'name=..': use letters"),
        (["variant=a b"], "'variant=a b': use letters"),
        (["variant=s3"], "'variant=s3' would read as a seed"),
        (["seed=-1"], "command line: 'seed': input should be greater than or equal to 0 (given: '-1')"),
        (["seed=one"], "command line: 'seed': input should be a valid integer"),
        (["gpu=2"], "command line: 'gpu': input should be less than or equal to 1"),
        (["jobs=0"], "command line: 'jobs': input should be greater than or equal to 1"),
    ],
)
def test_a_mistake_is_refused_with_its_mend(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        parse(arguments)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "folds"),
    [(None, [0, 1, 2, 3, 4]), ("0..4", [0, 1, 2, 3, 4]), ("0,2", [0, 2]), ("3", [3]), ("3,1..2,3", [1, 2, 3])],
)
def test_folds_are_ranges_lists_and_numbers(text: str | None, folds: list[int]) -> None:
    assert parse_folds(text, [0, 1, 2, 3, 4]) == folds


@pytest.mark.parametrize("text", ["5", "0..5", "-1", "a", "0-4", "1,", "0..", "", "4..0", "0...4", "1 2"])
def test_wrong_folds_are_refused_by_name(text: str) -> None:
    with pytest.raises(UserError, match=f"'fold={text}'"):
        parse_folds(text, [0, 1, 2, 3, 4])


def test_the_nearest_right_word_is_offered_or_all_of_them() -> None:
    assert nearest("trian", ["train", "test"]) == "; did you mean 'train'?"
    assert nearest("zzz", ["b", "a"]) == "; there is: a, b"
    assert nearest("zzz", []) == ""


def test_the_data_configs_own_keys_need_no_section() -> None:
    assert parse(["fold_mean=arithmetic", "metric=top@5"]).overrides == {"fold_mean": "arithmetic", "metric": "top@5"}
    with pytest.raises(UserError, match="did you mean 'metric'"):
        parse(["metrik=top@5"])
