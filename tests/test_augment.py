"""Augmentation: every part changes its crops, keeps their shape, is off at zero and repeats with its seed."""

from collections.abc import Callable
from typing import Any

from tonestack.features.frontends import cqt, logmel
from tonestack.settings.model_config import AugmentParams
from tonestack.training import augment as parts

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

STD = torch.full((1, 1, 16, 1), 2.0)
ON = {
    "gain_db": {"gain_db": 6},
    "tilt_db": {"tilt_db": 6},
    "equaliser_db": {"equaliser_db": 6},
    "mixstyle": {"mixstyle": 0.9},
    "shift_bands": {"shift_bands": 0.25},
    "time_masks": {"time_masks": 2, "time_mask": 0.5},
    "band_masks": {"band_masks": 2, "band_mask": 0.5},
    "erase": {"erase": 1.0},
    "noise": {"noise": 0.5},
}


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def draws(batch: int = 8, seed: int = 0, **params: object) -> parts.Draws:
    """Random numbers of one batch; noise that is drawn on the device repeats with the seed, too."""
    torch.manual_seed(seed)
    return parts.Draws(parts.draw(AugmentParams.model_validate(params), 1, batch, generator(seed))[0])


def crops(bands: int = 16) -> Tensor:
    return torch.randn(8, 1, bands, 20, generator=generator(99)) + 3


def run(x: Tensor, seed: int = 0, std: Tensor = STD, **params: object) -> Tensor:
    return parts.augment(x, AugmentParams.model_validate(params), std, draws(len(x), seed, **params))


@pytest.mark.parametrize("name", ON)
def test_every_part_changes_its_crops_and_keeps_their_shape(name: str) -> None:
    x = crops()
    before = x.clone()
    y = run(x, **ON[name])
    assert y.shape == x.shape
    assert y.isfinite().all()
    assert not torch.equal(y, x)
    assert torch.equal(x, before)  # the crops given are left as they were


@pytest.mark.parametrize("name", ["gain_db", "time_masks", "noise"])
def test_waveforms_are_changed_too(name: str) -> None:
    x = crops(bands=1)
    y = run(x, std=torch.ones(1, 1, 1, 1), **ON[name])
    assert (y.shape, bool(y.isfinite().all()), torch.equal(x, y)) == (x.shape, True, False)


@pytest.mark.parametrize("name", ["shift_bands", "band_masks", "erase", "equaliser_db", "mixstyle"])
def test_parts_for_bands_leave_waveforms_alone(name: str) -> None:
    x = crops(bands=1)
    assert torch.equal(run(x, std=torch.ones(1, 1, 1, 1), **ON[name]), x)


@pytest.mark.parametrize("name", ON)
def test_the_same_seed_gives_the_same_crops_and_another_others(name: str) -> None:
    assert torch.equal(run(crops(), 1, **ON[name]), run(crops(), 1, **ON[name]))
    assert not torch.equal(run(crops(), 1, **ON[name]), run(crops(), 2, **ON[name]))


def test_without_settings_nothing_is_changed_or_used() -> None:
    drawn, x = draws(), crops()
    assert torch.equal(parts.augment(x, AugmentParams(), STD, drawn), x)
    assert drawn.used == parts.OF_CROPS


def test_all_parts_together_use_every_number_once() -> None:
    everything = {"mixup": 0.4, **{key: value for on in ON.values() for key, value in on.items()}}
    drawn, params = draws(**everything), AugmentParams.model_validate(everything)
    parts.augment(crops(), params, STD, drawn)
    parts.mixup(crops(), torch.eye(8), torch.ones(8), drawn)
    assert drawn.used == len(drawn.table)
    everything |= {"mix_more": 1, "background": 0.5}
    drawn = draws(**everything)
    parts.augment(crops(), params, STD, drawn)
    for _ in range(2):
        parts.mixup(crops(), torch.eye(8), torch.ones(8), drawn)
    assert drawn.used == len(drawn.table) - len(drawn.background)


@pytest.mark.parametrize(
    "part",
    [
        lambda x: parts.gain(x, AugmentParams(), STD, draws(len(x))),
        lambda x: parts.shift_bands(x, 0.0, draws(len(x))),
        lambda x: parts.mask(x, 0.0, 3, draws(len(x))),
        lambda x: parts.mask(x, 0.0, 2, draws(len(x))),
        lambda x: parts.erase(x, 0.0, draws(len(x))),
    ],
)
def test_a_part_at_zero_is_the_identity(part: Callable[[Tensor], Tensor]) -> None:
    assert torch.equal(part(crops()), crops())


# --------------------------------------------------------------------------------------------------------- each in turn


def test_a_gain_is_the_same_for_all_of_a_crop_in_db_of_its_normalisation() -> None:
    change = run(crops(), gain_db=6.0) - crops()
    assert torch.allclose(change, change[:, :, :1, :1].expand_as(change), atol=1e-5)
    assert (change.abs() * 2 <= 6 + 1e-4).all()  # std 2: normalised units times 2 are dB
    assert len(change[:, 0, 0, 0].unique()) == 8


def test_a_tilt_is_a_straight_line_over_the_bands() -> None:
    change = (run(crops(), tilt_db=6.0) - crops())[:, 0, :, 0]
    assert torch.allclose(change[:, 0], -change[:, -1], atol=1e-5)
    assert torch.allclose(change.diff(dim=1), change.diff(dim=1)[:, :1].expand(8, 15), atol=1e-5)


def test_a_waves_gain_is_a_factor_with_a_sign() -> None:
    x = crops(bands=1)
    factor = run(x, std=torch.ones(1, 1, 1, 1), gain_db=6.0) / x
    assert torch.allclose(factor, factor[..., :1].expand_as(factor), atol=1e-5)
    assert (factor.abs().log10() * 20 <= 6.001).all()
    assert set(factor[..., 0].sign().flatten().tolist()) == {-1.0, 1.0}


def test_shifted_bands_are_moved_and_the_edge_repeated() -> None:
    x = torch.arange(16.0).view(1, 1, 16, 1).expand(64, 1, 16, 3)
    y = parts.shift_bands(x, 0.25, draws(len(x)))
    moves = y[:, 0, 8, 0] - 8
    assert set(moves.tolist()) == set(range(-4, 5))
    for crop, move in zip(y, moves, strict=True):
        wanted = (torch.arange(16.0) + move).clamp(0, 15)
        assert torch.equal(crop[0], wanted[:, None].expand(16, 3))


@pytest.mark.parametrize(("dim", "size"), [(2, 16), (3, 20)])
def test_a_mask_is_one_stretch_of_at_most_its_share(dim: int, size: int) -> None:
    x = torch.ones(200, 1, 16, 20)
    hidden = (parts.mask(x, 0.5, dim, draws(len(x))) == 0).squeeze(1)
    assert torch.equal(hidden.any(dim=3 - dim + 1), hidden.all(dim=3 - dim + 1))  # whole rows, whole columns
    line = hidden.any(dim=3 - dim + 1)  # (B, size)
    assert int(line.sum(1).max()) in (size // 2, size // 2 - 1)
    assert (line.int().diff(dim=1).abs().sum(1) <= 2).all()  # one stretch


def test_erasing_fills_one_rectangle_of_at_most_a_third_a_side() -> None:
    x = torch.full((200, 1, 15, 30), 50.0)
    changed = (parts.erase(x, 0.5, draws(len(x))) != 50).squeeze(1)
    rows, columns = changed.any(2), changed.any(1)
    assert torch.equal(changed, rows[:, :, None] & columns[:, None, :])
    assert int(rows.sum(1).max()) <= 6
    assert int(columns.sum(1).max()) <= 11
    assert 60 < int(changed.any(2).any(1).sum()) < 140  # half of the crops, less those too thin to show


# --------------------------------------------------------------------------------------------------------------- mixup


def test_mixup_targets_stay_distributions_and_blend_as_the_crops_do() -> None:
    label = torch.arange(8) % 4
    targets = torch.eye(4)[label]
    x = label.float().view(8, 1, 1, 1).expand(8, 1, 2, 3)  # a crop holds its own label
    weights = 1 + label.float()
    y, weighed, mixed_weights = parts.mixup(x, targets, weights, draws(mixup=0.5))
    assert torch.allclose(weighed.sum(1), torch.ones(8))
    assert (weighed >= 0).all()
    assert torch.allclose(mixed_weights, 1 + y[:, 0, 0, 0], atol=1e-6)
    mixed = parts.mixup(x, targets, torch.full((8,), 0.3), draws(mixup=0.5))[1]
    assert torch.equal(mixed, parts.mixup(x, targets, torch.ones(8), draws(mixup=0.5))[1])
    assert torch.allclose(y[:, 0, 0, 0], mixed @ torch.arange(4.0), atol=1e-6)
    assert (mixed[torch.arange(8), label] >= 0.5 - 1e-6).all()  # a crop keeps its own place
    assert not torch.equal(mixed, targets)


def test_mixup_repeats_with_its_seed() -> None:
    def once(seed: int) -> Tensor:
        return parts.mixup(crops(), torch.eye(8), torch.ones(8), draws(seed=seed, mixup=0.4))[0]

    assert torch.equal(once(1), once(1))
    assert not torch.equal(once(1), once(2))


def test_mixups_ratios_are_betas_and_some_batches_are_not_mixed() -> None:
    params = AugmentParams(mixup=0.4, mixup_share=0.25)
    ratio = parts.draw(params, 400, 16, generator())[:, 0]
    mixed = (ratio < 1).any(1)
    assert abs(float(mixed.float().mean()) - 0.25) < 4 * (0.25 * 0.75 / 400) ** 0.5
    assert (ratio >= 0.5).all()
    # of Beta(a, a): variance 1 / (4 (2 a + 1)) about a half, the same for the larger of the ratio and its rest
    assert float((ratio[mixed] - 0.5).square().mean()) == pytest.approx(1 / (4 * 1.8), rel=0.05)


def test_a_fixed_ratio_mixes_every_crop_of_a_mixed_batch_alike() -> None:
    for given in (0.3, 0.7):
        ratio = parts.draw(AugmentParams(mix_ratio=given, mixup=0.4, mixup_share=0.5), 200, 4, generator())[:, 0]
        assert ratio.unique().tolist() == pytest.approx([0.7, 1])
        assert torch.equal(ratio, ratio[:, :1].expand_as(ratio))
    assert AugmentParams(mix_ratio=0.5).mixes
    assert AugmentParams(mixup=0.5).mixes
    assert not AugmentParams().mixes


def test_unknown_labels_stay_unknown_where_the_other_crop_does_not_say() -> None:
    nan = float("nan")
    one, two = torch.tensor([[1.0, 0, nan, nan, nan, 0.3]]), torch.tensor([[nan, nan, nan, 1.0, 0.9, 0.6]])
    wanted = torch.tensor([[1.0, nan, nan, 1.0, nan, 0.6]])
    assert torch.allclose(parts.united(one, two), wanted, equal_nan=True)
    assert torch.allclose(parts.united(two, one), wanted, equal_nan=True)


@pytest.mark.parametrize("union", [True, False])
def test_what_is_unknown_of_one_crop_does_not_spread_to_batches_that_are_not_mixed(union: bool) -> None:
    targets = torch.eye(8)
    targets[0, 3] = float("nan")
    made = parts.mixup(crops(), targets, torch.ones(8), draws(mixup=0.4, mixup_share=0.0), union=union)[1]
    assert torch.allclose(made, targets, equal_nan=True)
    made = parts.mixup(crops(), targets, torch.ones(8), draws(mixup=0.4), union=union)[1]
    assert 1 <= int(made.isnan().sum()) <= 2  # its own row, and that of the crop it is mixed with


def test_a_crop_that_is_not_mixed_stays_as_it_is() -> None:
    x, targets, weights = crops(), torch.eye(8), torch.arange(8.0)
    made = parts.mixup(x, targets, weights, draws(mixup=0.4, mixup_share=0.0))
    assert all(torch.equal(a, b) for a, b in zip(made, (x, targets, weights), strict=True))


# --------------------------------------------------------------------------------------------------- mixing of powers


def test_mixed_powers_are_the_log_of_the_mean_by_squared_shares() -> None:
    one, two, share = torch.tensor([10.0, 0.0, -100.0]), torch.tensor([10.0, -100.0, 20.0]), torch.tensor(0.75)
    squares = 0.75**2, 0.25**2
    powers = (squares[0] * 10 ** (one / 10) + squares[1] * 10 ** (two / 10)) / sum(squares)
    assert parts.mix_powers(one, two, share).tolist() == pytest.approx((10 * powers.log10()).tolist(), abs=1e-3)


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_mixing_the_powers_is_mixing_the_sounds_on_average(share: float) -> None:
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(2, 200, 4096)) * np.array([[[1.0]], [[0.2]]])
    mixed = (share * one + (1 - share) * two) / np.hypot(share, 1 - share)
    db = [torch.tensor(10 * np.log10((wave**2).mean())) for wave in (one, two, mixed)]
    assert float(parts.mix_powers(db[0], db[1], torch.tensor(share))) == pytest.approx(float(db[2]), abs=0.05)


def test_mixed_waves_keep_the_level_of_uncorrelated_sounds() -> None:
    one, two = torch.randn(2, 1, 1, 1, 50_000, generator=generator())
    mixed = parts.mix_waves(one, two, torch.tensor(0.8))
    assert float(mixed.std()) == pytest.approx(1, abs=0.02)
    assert torch.allclose(mixed * (0.64 + 0.04) ** 0.5, 0.8 * one + 0.2 * two, atol=1e-6)


@pytest.mark.parametrize("wave", [True, False])
def test_an_aligned_crop_has_the_others_mean_power(wave: bool) -> None:
    from tonestack.networks.layers import Network, Normalise, Tagger
    from tonestack.networks.losses.bce import Loss, Params
    from tonestack.settings.model_config import ModelConfig
    from tonestack.training.step import Step

    bands = 1 if wave else 6
    x, other = torch.randn(2, 30, 1, bands, 40, generator=generator())
    other = other * 1e-3 if wave else other - 30
    none = torch.nn.Identity()
    model = Tagger(Normalise(torch.zeros(bands), torch.full((bands,), 1.0 if wave else 2.0)), Network(none, none, none))
    model.share = torch.nn.Parameter(torch.zeros(1))
    share, mixed = torch.full((30, 1, 1, 1), 0.5), {}
    for align in (False, True):
        augment = {"mix": "power", "mix_ratio": 0.5, "mix_align": align}
        config = ModelConfig.model_validate({"frontend": {"name": "x"}, "network": {"name": "x"}, "augment": augment})
        mixed[align] = Step(model, Loss(Params()), [], config)._mix_powers(x, other, share)
    quiet = other * 0 if wave else other * 0 - 1000
    plain = parts.mix_waves if wave else lambda *a: parts.mix_powers(a[0] * 2, a[1] * 2, a[2]) / 2
    assert torch.allclose(mixed[False], plain(x, quiet, share), atol=2e-2)  # of the other nothing is heard
    lifted = other * 1e3 if wave else other + 30
    assert float((mixed[True] - plain(x, lifted, share)).abs().median()) < 0.1
    assert parts.power_above(x, parts.louder(other, parts.power_above(x, other))).abs().max() < 1e-3


@pytest.mark.parametrize("wave", [True, False])
def test_a_background_lies_at_its_level_under_its_share_of_the_crops(wave: bool) -> None:
    params = AugmentParams(background=0.4, background_db=(10.0, 10.0))
    x, under = torch.randn(2, 500, 1, 1 if wave else 6, 40, generator=generator())
    under = under * 3 + 20

    def power(y: Tensor) -> Tensor:
        return (y.square() if wave else 10 ** (y / 10)).mean(dim=(2, 3))

    drawn = parts.Draws(parts.draw(params, 1, 500, generator())[0])
    y = parts.put_under(x, under, drawn.background[::3], params)
    changed = (y != x).any(dim=3).any(dim=2)[:, 0]
    assert torch.equal(changed, drawn.background[0] < 0.4)
    assert 150 < int(changed.sum()) < 250
    added = power(y - x)[changed] if wave else (power(y) - power(x))[changed]
    assert torch.allclose(added / power(x)[changed], torch.full((), 0.1), rtol=1e-3)
    louder = parts.put_under(x, under, drawn.background[::3], params.model_copy(update={"background_db": (-10, 0)}))
    ratio = (power(louder - x) if wave else power(louder) - power(x))[changed] / power(x)[changed]
    assert float(ratio.min()) > 0.99
    assert 5 < float(ratio.max()) < 10.1


def test_a_union_keeps_the_labels_of_both_crops_in_full() -> None:
    targets, weights = torch.eye(8), torch.ones(8)
    given = draws(8, mixup=1.0)
    _, mixed, _ = parts.mixup(crops(), targets, weights, given, union=True)
    assert set(mixed.sum(dim=1).tolist()) <= {1.0, 2.0}
    assert ((mixed == 0) | (mixed == 1)).all()
    assert (mixed.diagonal() == 1).all()
    _, blended, _ = parts.mixup(crops(), targets, weights, draws(8, mixup=1.0))
    assert torch.allclose(blended.sum(dim=1), torch.ones(8))


def test_mixed_styles_change_the_bands_means_and_deviations_alone() -> None:
    x = crops() * torch.linspace(0.5, 3, 8).view(-1, 1, 1, 1)
    y = run(x, mixstyle=0.6)
    same = (y == x).all(dim=3).all(dim=2).flatten()
    assert 0 < same.sum() < len(x)
    std, mean = torch.std_mean(x, dim=3, keepdim=True, correction=0)
    new_std, new_mean = torch.std_mean(y, dim=3, keepdim=True, correction=0)
    assert torch.allclose((y - new_mean) / new_std, (x - mean) / std, atol=1e-4)
    assert not torch.allclose(new_std[~same], std[~same], rtol=0.02)
    least, most = (std.amin(dim=0), mean.amin(dim=0)), (std.amax(dim=0), mean.amax(dim=0))
    assert all((low - 1e-4 <= v).all() for low, v in zip(least, (new_std, new_mean), strict=True))
    assert all((v <= high + 1e-4).all() for high, v in zip(most, (new_std, new_mean), strict=True))


def test_a_silent_band_takes_part_in_mixed_styles() -> None:
    x = crops()
    x[:, :, 3] = -2.0
    assert run(x, mixstyle=1.0).isfinite().all()


def test_a_cut_crop_is_followed_by_another() -> None:
    x, other = torch.zeros(2, 1, 3, 20), torch.ones(2, 1, 3, 20)
    mixed = parts.mix_cut(x, other, torch.tensor([0.5, 0.8]).view(-1, 1, 1, 1))
    assert mixed.mean(dim=(1, 2, 3)).tolist() == pytest.approx([0.5, 0.2])
    assert (mixed.diff(dim=3) >= 0).all()
    x, targets = torch.randn(8, 1, 4, 16), torch.eye(8)
    cut, labels, _ = parts.mixup(x, targets, torch.ones(8), draws(mixup=1.0), parts.mix_cut)
    kept = (cut == x).all(dim=2).float().mean(dim=(1, 2))
    assert torch.allclose(labels.diagonal(), kept, atol=1 / 16)


def test_the_equalisers_curve_is_smooth_and_as_strong_as_asked_for() -> None:
    x = torch.zeros(512, 1, 61, 3)
    given = parts.Draws(parts.draw(AugmentParams(equaliser_db=6), 1, 512, generator())[0])
    curve = parts.equalise(x, 6.0, torch.full((1, 1, 61, 1), 2.0), given) * 2
    assert torch.equal(curve[..., 0], curve[..., 2])  # the same for all frames
    assert float(curve[:, 0, [0, -1], 0].std()) == pytest.approx(6, rel=0.1)
    bends = curve[:, 0, :, 0].diff(dim=1).diff(dim=1).abs() > 1e-4
    assert int(bends.sum(dim=1).max()) <= 2 * (parts.KNOTS - 2)  # straight between the knots


# --------------------------------------------------------------------------------------------------------------- speed


MEL = logmel, logmel.Params(sample_rate=16000, n_fft=1024, hop_length=320, n_mels=64, fmin=40, fmax=8000)
CONSTANT_Q = cqt, cqt.Params(sample_rate=16000, hop_length=320, n_bins=84)


@pytest.mark.parametrize(("module", "params"), [MEL, CONSTANT_Q], ids=["mel", "constant-Q"])
def test_a_faster_tone_lies_higher(module: Any, params: Any) -> None:
    frontend, centres = module.Frontend(params), torch.from_numpy(module.centres(params)).float()
    t = np.arange(16000) / 16000
    one, two = (
        torch.from_numpy(frontend.exact(np.sin(2 * np.pi * hz * t).astype(np.float32))) for hz in (1000.0, 1150.0)
    )
    moved = parts.play_faster(one.T[None, None], torch.tensor([1.15]), centres)[0, 0, :, 25]
    assert abs(int(moved.argmax()) - int(two[25].argmax())) <= 1
    assert int(one[25].argmax()) < int(moved.argmax())
    same = parts.play_faster(one.T[None, None], torch.tensor([1.0]), centres)[0, 0]
    assert torch.allclose(same, one.T, atol=1e-3)


def test_the_speed_of_a_crop_is_that_of_its_frames() -> None:
    draws_of = torch.tensor([0.0, 0.5, 1.0])
    assert parts.playing_rate(AugmentParams(speed=0.2), draws_of).tolist() == pytest.approx([0.8, 1.0, 1.2])
    assert parts.playing_rate(AugmentParams(), draws_of).tolist() == [1, 1, 1]
