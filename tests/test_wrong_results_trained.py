"""Results that would be wrong or lost without a word, in training and preparation: each fails without its fix."""

from collections.abc import Callable

import blend
import train
from tonestack.base.errors import UserError
from tonestack.base.files import read_json, write_json
from tonestack.config.call import Call
from tonestack.training import fold_job, queue

import pytest

TinyRun = Callable[..., Call]


def test_two_runs_at_once_with_other_settings_are_not_mixed(tiny_run: TinyRun) -> None:
    """Both have looked at the folder before either has finished a fold."""
    one, other = (queue.build(run, run.experiments()) for run in (tiny_run(), tiny_run("training.lr=0.5")))
    fold_job.run(one[0])
    for job in other:  # the fold itself, which it would have taken for its own, and the next one
        with pytest.raises(UserError, match=r"trained with other settings \(training\.lr: 0\.001 there, 0\.5 now\)"):
            fold_job.run(job)
    assert not (one[0].folder / "fold1.json").exists()


def test_a_fold_finished_meanwhile_with_other_settings_is_not_joined(
    tiny_run: TinyRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run finishes its fold while this one trains."""
    one, other = (queue.build(run, run.experiments()) for run in (tiny_run(), tiny_run("training.lr=0.5")))
    predict = fold_job._predict

    def meanwhile(*rest: object) -> object:
        monkeypatch.setattr(fold_job, "_predict", predict)
        fold_job.make(one[0])
        return predict(*rest)  # type: ignore[arg-type]

    monkeypatch.setattr(fold_job, "_predict", meanwhile)
    with pytest.raises(UserError, match="trained with other settings"):
        fold_job.run(other[1])
    assert [path.name for path in sorted(one[0].folder.glob("fold*.json"))] == ["fold0.json"]


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("config", {"training": {"lr": 0.5}}, r"training\.lr \(0\.001 and 0\.5\)"),
        ("seed", 7, r"seed \(0 and 7\)"),
        ("inputs", {"features": "x"}, r"inputs\.features .*"),
    ],
)
def test_folds_of_two_runs_are_no_table(tiny_run: TinyRun, key: str, value: object, named: str) -> None:
    train.run(tiny_run())
    path = tiny_run().oof / "vgg_small@r0/fold1.json"
    said = read_json(path)
    old = said[key]
    write_json(path, said | {key: old | value if isinstance(old, dict) else value})  # type: ignore[operator]
    with pytest.raises(UserError, match=f"fold1 was made with another {named} than fold0"):
        blend.run(tiny_run())
    write_json(path, said)
    blend.run(tiny_run())
