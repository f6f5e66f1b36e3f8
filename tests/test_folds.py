"""Folds: a partition, stratified to within one clip, that splits no group."""

from pathlib import Path

from tonestack.base.errors import UserError
from tonestack.labels import folds
from tonestack.settings.data_config import FoldParams

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

REAL = Path(__file__).parents[2] / "shared" / "data" / "fsdkaggle2018_meta" / "train.csv"
FEW = settings(max_examples=30, deadline=None)


def table(labels: list[str], verified: object = True, group: object = "", fold: object = -1) -> pd.DataFrame:
    """A reader's train table; `labels` may be a text of one-letter labels."""
    ids = [f"{i}.wav" for i in range(len(labels))]
    return pd.DataFrame({"clip_id": ids, "label": list(labels), "verified": verified, "group": group, "fold": fold})


def spread(made: pd.DataFrame, by: list[str], n: int) -> np.ndarray:
    """Clips of each stratum (rows) in each fold (columns)."""
    counts = made.groupby([*by, "fold"]).size().unstack(fill_value=0)
    return counts.reindex(columns=range(n), fill_value=0).to_numpy()


# ---------------------------------------------------------------------------------------------- partition and strata


@given(st.lists(st.integers(5, 23), min_size=1, max_size=4), st.integers(2, 5), st.integers(0, 3))
@FEW
def test_every_clip_has_one_fold_and_classes_differ_by_at_most_one_clip(sizes: list[int], n: int, seed: int) -> None:
    clips = table([f"c{i}" for i, size in enumerate(sizes) for _ in range(size)])
    made = folds.assign(clips.sample(frac=1, random_state=seed), FoldParams(n=n, seed=seed), "here")
    assert sorted(made["clip_id"]) == sorted(clips["clip_id"])
    assert set(made["fold"]) == set(range(n))
    assert (np.ptp(spread(made, ["label"], n), axis=1) <= 1).all()


@given(st.integers(0, 12), st.integers(0, 12), st.integers(2, 4))
@FEW
def test_a_label_is_stratified_by_verified_where_both_parts_can_be_split(good: int, bad: int, n: int) -> None:
    if good + bad < n:
        return
    clips = table("a" * (good + bad) + "b" * 8, verified=[True] * good + [False] * bad + [True] * 8)
    made = folds.assign(clips, FoldParams(n=n), "here")
    by = ["label"] if 0 < good < n or 0 < bad < n else ["label", "verified"]
    assert (np.ptp(spread(made, by, n), axis=1) <= 1).all()


def test_a_small_stratum_is_merged_with_its_labels_other_one() -> None:
    clips = table("aaaaaabbbbbb", verified=[True] * 5 + [False] + [True] * 3 + [False] * 3)
    strata = folds.stratum(clips["label"], clips["verified"], 3)
    assert strata.tolist() == ["a"] * 6 + ["b\t1"] * 3 + ["b\t0"] * 3


def test_the_same_seed_gives_the_same_folds_and_another_others() -> None:
    clips = table("aaaaaaaaaabbbbbbbbbb")
    first, again, other = (folds.assign(clips, FoldParams(n=5, seed=s), "here")["fold"].tolist() for s in (1, 1, 2))
    assert first == again
    assert first != other


# ------------------------------------------------------------------------------------------------------------- groups


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), min_size=20, max_size=60), st.integers(2, 4))
@FEW
@pytest.mark.filterwarnings("ignore:here")
def test_no_group_lies_in_two_folds(clips: list[tuple[str, int]], n: int) -> None:
    made = table("".join(label for label, _ in clips), group=[f"g{g}" if g else "" for _, g in clips])
    try:
        made = folds.assign(made, FoldParams(n=n, small_classes="warn"), "here")
    except UserError:  # nothing is large enough to be split
        return
    assert (made[made["group"] != ""].groupby("group")["fold"].nunique() == 1).all()
    assert set(made["fold"]) <= set(range(n))


def test_groups_of_equal_size_are_stratified_too() -> None:
    clips = table("aaaaaaaabbbbbbbb", group=[f"g{i // 2}" for i in range(16)])
    made = folds.assign(clips, FoldParams(n=4), "here")
    assert (spread(made, ["label"], 4) == 2).all()


def test_clips_without_a_group_are_clips_by_themselves() -> None:
    clips = table("a" * 12 + "b" * 12, group=["g"] * 2 + [""] * 22)
    made = folds.assign(clips, FoldParams(n=4), "here")
    assert (np.ptp(spread(made, ["label"], 4), axis=1) <= 1).all()


@pytest.mark.filterwarnings("ignore:here")
def test_a_class_that_is_one_group_is_warned_of() -> None:
    clips = table("a" * 6 + "b" * 6, group=["g"] * 6 + [""] * 6)
    with pytest.warns(UserWarning, match="all clips of 1 classes lie in one fold, first 'a'"):
        folds.assign(clips, FoldParams(n=3), "here")


# ---------------------------------------------------------------------------------------------------- same audio twice


def joined(groups: list[str], hashes: list[str]) -> list[str]:
    return folds.join_duplicates(pd.Series(groups), pd.Series(hashes)).tolist()


@pytest.mark.parametrize(
    ("groups", "hashes", "same"),
    [
        (["", "", ""], ["x", "x", "y"], [{0, 1}]),
        (["g", "g", "", ""], ["x", "y", "y", "z"], [{0, 1, 2}]),  # 0-1 by group, 1-2 by audio
        (["g", "", "", "h", "h"], ["x", "x", "y", "y", "z"], [{0, 1}, {2, 3, 4}]),
        (["g", "h", "h", "i", "i"], ["x", "x", "y", "y", "z"], [{0, 1, 2, 3, 4}]),  # a chain of four links
        (["", ""], ["", ""], []),  # an unknown hash joins nothing
    ],
)
def test_duplicates_are_joined_transitively(groups: list[str], hashes: list[str], same: list[set[int]]) -> None:
    made = joined(groups, hashes)
    found = [{i for i, g in enumerate(made) if g == name} for name in dict.fromkeys(made) if name]
    assert [members for members in found if len(members) > 1] == same


def test_joining_leaves_single_clips_and_known_names_as_they_are() -> None:
    assert joined(["g", "g", "", "h"], ["x", "y", "z", "w"]) == ["g", "g", "", "h"]
    assert joined([], []) == []


@given(st.lists(st.tuples(st.sampled_from(["", "g", "h", "i"]), st.sampled_from(["", "x", "y", "z"])), max_size=12))
@FEW
def test_joined_groups_are_the_connected_components(clips: list[tuple[str, str]]) -> None:
    made = joined([g for g, _ in clips], [h for _, h in clips])
    member = list(range(len(clips)))  # the plain way: join until nothing changes
    changed = True
    while changed:
        changed = False
        for i, a in enumerate(clips):
            for j, b in enumerate(clips):
                linked = any(x and x == y for x, y in zip(a, b, strict=True))
                if linked and member[i] != member[j]:
                    member[i] = member[j] = min(member[i], member[j])
                    changed = True
    for i in range(len(clips)):
        for j in range(i):
            assert (made[i] == made[j] != "") == (member[i] == member[j])


# ------------------------------------------------------------------------------------------------------------ refusals


def test_a_class_smaller_than_the_folds_is_refused_by_name_and_size() -> None:
    with pytest.raises(UserError) as error:
        folds.assign(table("aaaaabbb"), FoldParams(n=5), "configs/data/x.yaml: folds")
    assert str(error.value) == (
        "configs/data/x.yaml: folds: 1 classes have fewer clips than the 5 folds: 'b' has 3; "
        "give folds.n=3 or folds.small_classes=warn (kept with the folds)"
    )


def test_a_class_of_one_clip_fits_no_number_of_folds() -> None:
    with pytest.raises(UserError, match=r"'b' has 1; give folds\.small_classes=warn \(kept with the folds\)$"):
        folds.assign(table("aaaab"), FoldParams(n=2), "here")


def test_a_small_class_is_folded_with_a_warning_by_choice() -> None:
    with pytest.warns(UserWarning, match="'b' has 3"):
        made = folds.assign(table("aaaaabbb"), FoldParams(n=5, small_classes="warn"), "here")
    assert spread(made, ["label"], 5).tolist() == [[1] * 5, [1, 1, 1, 0, 0]]


def test_groups_that_alone_have_a_class_stay_in_training_by_choice() -> None:
    group = [*"pqrst", *"uvwxy", "z", "z", "u"]
    clips = table("aaaaabbbbbcca", group=group)  # z alone has c; c has two clips
    made = folds.assign(clips, FoldParams(n=5, small_classes="keep"), "here")
    assert made["fold"].tolist()[10:12] == [-1, -1]
    assert (made["fold"] >= 0).sum() == 11
    assert made["clip_id"].tolist() == clips["clip_id"].tolist()
    assert made.loc[made["group"] == "u", "fold"].nunique() == 1


def test_unscored_groups_of_small_classes_stay_in_training_by_choice() -> None:
    clips = table("aaaaaabbbbbbbccc", verified=[0] * 6 + [0] * 2 + [1] * 5 + [0] * 2 + [1])
    with pytest.warns(UserWarning, match="'c' has 1"):
        made = folds.assign(clips, FoldParams(n=5, small_classes="keep"), "here")
    assert made["fold"].tolist()[13:15] == [-1, -1]  # c has three clips in three groups, two of them unscored
    assert (made["fold"] >= 0).sum() == 14
    plain = folds.assign(clips.assign(verified=True), FoldParams(n=2, small_classes="keep"), "here")
    assert (plain["fold"] >= 0).all()


def test_nothing_to_score_on_is_refused() -> None:
    with pytest.raises(UserError, match="every clip has a class that one group alone has"):
        folds.assign(table("abc"), FoldParams(n=2, small_classes="keep"), "here")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("clips", [table("aaabbb"), table("a" * 9 + "b" * 9, group=["g"] * 9 + ["h"] * 9)])
def test_more_folds_than_can_be_filled_are_refused(clips: pd.DataFrame) -> None:
    with pytest.raises(UserError, match=r"here: .*; give a smaller folds\.n"):
        folds.assign(clips, FoldParams(n=5, small_classes="warn"), "here")


def test_official_folds_are_kept() -> None:
    official = [2, 0, 1, 2, 0, 0]
    made = folds.assign(table("aabbbb", fold=official), FoldParams(n=5), "here")
    assert made["fold"].tolist() == official


def test_a_fixed_split_is_a_single_fold() -> None:
    made = folds.assign(table("aabb", fold=[0, -1, -1, 0]), FoldParams(n=5), "here")
    assert made["fold"].tolist() == [0, -1, -1, 0]


def test_half_given_official_folds_are_refused() -> None:
    with pytest.raises(UserError, match=r"here: 2 clips have no official fold, first 1\.wav"):
        folds.assign(table("aaaa", fold=[0, -1, 1, -1]), FoldParams(n=2), "here")


# ----------------------------------------------------------------------------------------------------------- the file


@pytest.mark.filterwarnings("ignore:here")
def test_folds_are_read_back_as_written(tmp_path: Path) -> None:
    clips = table(["None", "a,b", "007"] * 2, verified=[True, False, True] * 2, group=["", "1", "x"] * 2)
    made = folds.assign(clips.assign(clip_id=[f"0{i}" for i in range(6)]), FoldParams(n=2), "here")
    folds.write(tmp_path, made, {"settings": {"n": 2}})
    pd.testing.assert_frame_equal(folds.read(tmp_path), made, check_dtype=False)
    assert folds.receipt(tmp_path)["settings"] == {"n": 2}
    (tmp_path / "r0.csv").unlink()
    assert folds.receipt(tmp_path) == {}


def test_absent_or_damaged_folds_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"r0\.csv: no folds yet; run make_folds first"):
        folds.read(tmp_path)
    (tmp_path / "r0.csv").write_text("clip_id,label,verified,fold\na,b,1,0\n")
    with pytest.raises(UserError, match=r"r0\.csv: column 'group' is missing"):
        folds.read(tmp_path)


# ------------------------------------------------------------------------------------------------------ the real table


@pytest.mark.skipif(not REAL.is_file(), reason="the real competition's train.csv is not beside the checkout")
def test_the_real_competition_is_split_evenly() -> None:
    rows = pd.read_csv(REAL)
    clips = table(rows["label"].tolist(), verified=rows["manually_verified"].astype(bool))
    made = folds.assign(clips.assign(clip_id=rows["fname"]), FoldParams(), "here")
    assert len(made) == 9_473
    assert np.ptp(made.groupby("fold").size()) <= 1
    each = spread(made, ["label", "verified"], 5)
    assert each.shape == (82, 5)  # 41 classes, verified or not
    small = each.sum(axis=1).reshape(41, 2).min(axis=1) < 5  # Gunshot_or_gunfire: 2 clips not verified
    assert (np.ptp(each.reshape(41, 2, 5)[~small], axis=2) <= 1).all()
    assert (np.ptp(spread(made, ["label"], 5)[small], axis=1) <= 1).all()
