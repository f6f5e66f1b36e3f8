"""The Judge: exact sizes, losses worked by hand, episodes that say what they claim, votes, resuming, enrolling."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tonestack import tasks
from tonestack.base import parts
from tonestack.base.errors import UserError
from tonestack.base.files import read_csv, write_csv
from tonestack.competition.demo import voice_set
from tonestack.competition.demo.voice_set import VoiceSet
from tonestack.competition.demo.voices import formant
from tonestack.competition.readers import voices as reader
from tonestack.config import layers
from tonestack.config.call import Call
from tonestack.deploy import voice_matching
from tonestack.ensemble import scoring
from tonestack.networks.layers import count_parameters
from tonestack.networks.losses import cross_entropy, softmaxed_sigmoid
from tonestack.networks.models import siamese
from tonestack.networks.models.siamese import EpisodeParams, VoiceInputParams
from tonestack.tables import votes
from tonestack.training import fold_job, queue
from tonestack.training import job as job_module
from tonestack.training.crops import Clips
from tonestack.training.learners import siamese as learner
from tonestack.training.voices.episodes import Voices, cut, draw_batch, join_short
from tonestack.training.voices.voice_input import VoiceInput, levels, speed_matrices

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

PARAMETERS = {  # SYSTEMS.md of the few-shot voice matching document
    ("conv1d", "lstm", 1): 18_313_409,
    ("conv1d", "lstm", 2): 19_890_369,
    ("conv1d", "gru", 1): 18_050_241,
    ("conv1d", "gru", 2): 19_232_961,
    ("conv1d", "none", 1): 2_056_385,
    ("conv2d", "lstm", 1): 3_857_089,
    ("conv2d", "lstm", 2): 5_434_049,
    ("conv2d", "gru", 1): 3_593_921,
    ("conv2d", "gru", 2): 4_776_641,
    ("conv2d", "none", 1): 1_493_697,
}
TINY = [
    *("data=voices", "preset=smoke", "model=judge_conv2d_none", "device=cpu", "jobs=1", "folds.n=2"),
    *("crop.seconds=0.5", "network.frames=60", "network.vote.crops=30", "network.vote.batch_size=30"),
    *("network.episodes.steps=4", "network.episodes.voices=0"),
    *("training.batch_size=4", "training.epochs=2", "blend.bootstrap=50", "stack.rounds=5"),
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small gain nothing by a second thread, and lose much where the cores are busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def voices_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three synthesised voices: four clips of a second each, and one to recognise, in three formats and rates."""
    root = tmp_path_factory.mktemp("voices")
    for v, (suffix, rate) in enumerate((("flac", 24000), ("wav", 16000), ("ogg", 44100))):
        person = formant.voice((2, 5, 9)[v])
        (root / f"v{v}").mkdir()
        for k in range(5):
            samples, made = person.say("", 1.0, np.random.default_rng([v, k]))
            path = root / f"v{v}" / f"clip {k}.{suffix}" if k < 4 else root / f"v{v}.{suffix}"
            places = np.linspace(0, len(samples) - 1, round(len(samples) * rate / made))
            wave = np.interp(places, np.arange(len(samples)), samples)
            soundfile.write(path, np.stack([wave, wave], 1) if suffix == "wav" else wave, rate)
    soundfile.write(root / "stranger.flac", formant.voice(77).say("", 1.0, np.random.default_rng(0))[0], 24000)
    return root


@pytest.fixture
def tiny(voices_root: Path) -> Callable[..., Call]:
    def resolve(*words: str) -> Call:
        given = {word.partition("=")[0]: word for word in [*TINY, f"root={voices_root}", *words]}
        return Call.from_arguments(list(given.values()))

    return resolve


def prepared(run: Call) -> list[Any]:
    import make_folds
    import prepare

    prepare.run(run)
    make_folds.run(run)
    return queue.build(run, run.experiments())


# ----------------------------------------------------------------------------------------------------------- network


@pytest.mark.parametrize(("tower", "recurrent", "layers"), PARAMETERS)
def test_every_variant_has_the_documents_number_of_parameters(tower: str, recurrent: str, layers: int) -> None:
    params = siamese.Params(tower=tower, recurrent=recurrent, layers=layers)  # type: ignore[arg-type]
    with torch.device("meta"):  # sizes without the numbers
        model = siamese.build(params, 1 if tower == "conv1d" else 64, 0)
    assert count_parameters(model) == PARAMETERS[tower, recurrent, layers]


def test_there_is_a_config_of_every_variant_and_it_builds_that_variant() -> None:
    run = Call.from_arguments(["data=voices"])
    found = {}
    for name in (name for name in layers.available("model") if name.startswith("judge_")):
        network = run.experiment(name).config.network
        found[network["tower"], network["recurrent"], network["layers"]] = name
        assert network["frames"] is None
    assert set(found) == set(PARAMETERS)
    assert found["conv2d", "gru", 2] == "judge_conv2d_gru2"


def test_maps_have_the_documents_shapes() -> None:
    spectrograms = siamese.Tower(siamese.Params()).eval()
    assert spectrograms.maps(torch.zeros(2, 1, 64, 360)).shape == (2, 256, 1, 10)
    assert spectrograms(torch.zeros(2, 1, 64, 360)).shape == (2, 10 * 512)
    waves = siamese.Tower(siamese.Params(tower="conv1d", recurrent="gru")).eval()
    assert waves.maps(torch.zeros(2, 1, 72_000)).shape == (2, 256, 16)


def test_halves_compared_are_the_dense_layer_on_both_sides_together() -> None:
    torch.manual_seed(0)
    model = siamese.build(siamese.Params(recurrent="none", frames=60, shortcut=False), 64, 0).eval()
    x = torch.randn(2, 1, 64, 60)
    logits = model(x)
    embedding = model.tower(x)
    for target in range(2):
        for sample in range(2):
            both = torch.cat([embedding[sample], embedding[target]])
            torch.testing.assert_close(logits[target, sample], model.rest(model.first(both))[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("recurrent", "parts"), [("none", (256, -1)), ("gru", (-1, 512))])
def test_the_shortcut_adds_the_correlation_of_means_over_time_and_no_weight(
    recurrent: str, parts: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    params = siamese.Params.parse({"recurrent": recurrent, "frames": 60}, "here")
    model, plain = (siamese.build(p, 64, 0).eval() for p in (params, params.model_copy(update={"shortcut": False})))
    plain.load_state_dict(model.state_dict())
    x = torch.randn(3, 1, 64, 60)
    means = model.tower(x).detach().unflatten(1, parts).mean(2 if recurrent == "none" else 1).numpy()
    added = (model(x) - plain(x)).detach().numpy()
    np.testing.assert_allclose(added, siamese.TEMPERED * np.corrcoef(means), rtol=1e-4, atol=1e-4)


def test_layers_without_a_recurrent_part_are_refused() -> None:
    with pytest.raises(UserError, match=r"'layers': network\.layers needs network\.recurrent=lstm or gru"):
        siamese.Params.parse({"recurrent": "none", "layers": 2}, "here")


@pytest.mark.parametrize(
    ("tower", "recurrent", "least"), [("conv2d", "lstm", 56), ("conv1d", "gru", 12_840), ("conv1d", "none", 30_120)]
)
def test_the_shortest_crop_is_the_one_that_the_convolutions_leave_a_step_of(
    tower: str, recurrent: str, least: int
) -> None:
    given = {"tower": tower, "recurrent": recurrent}
    bands = 1 if tower == "conv1d" else 64
    tower = siamese.Tower(siamese.Params.parse({**given, "frames": least}, "here"))
    assert tower.maps(torch.zeros(1, 1, least) if bands == 1 else torch.zeros(1, 1, bands, least)).shape[-1] == 1
    with pytest.raises(UserError, match=f"'frames': the convolutions need more frames .given: {least - 1}"):
        siamese.Params.parse({**given, "frames": least - 1}, "here")


def test_a_crop_that_the_head_is_not_made_for_is_refused(tiny: Callable[..., Call]) -> None:
    with pytest.raises(UserError, match=r"crop\.seconds=0\.6 is 72 frames: give network\.frames=72"):
        learner.SiameseNetwork.build(tiny("crop.seconds=0.6").experiments()[0].config, torch.device("cpu"))
    settings = tiny("network.tower=conv1d", "network.frames=72000").experiments()[0].config
    with pytest.raises(UserError, match=r"network\.tower=conv1d does not go with frontend\.name=logmel"):
        learner.SiameseNetwork.build(settings, torch.device("cpu"))


# ------------------------------------------------------------------------------------------------------------ losses


@pytest.mark.parametrize(("n", "floor"), [(10, 2.172), (6, 1.610)])
def test_the_documents_loss_cannot_fall_under_its_floor_and_the_corrected_one_can(n: int, floor: float) -> None:
    best = torch.full((1, n), -100.0)
    best[0, 2] = 100.0
    target = torch.eye(n)[2:3]
    weight = torch.ones(1)
    faithful = float(softmaxed_sigmoid.build(softmaxed_sigmoid.Params())(best, target, weight))
    assert faithful == pytest.approx(floor, abs=5e-4)
    rng = torch.Generator().manual_seed(0)
    for _ in range(50):
        some = torch.randn(1, n, generator=rng) * 10
        assert float(softmaxed_sigmoid.build(softmaxed_sigmoid.Params())(some, target, weight)) >= faithful - 1e-6
    assert float(cross_entropy.build(cross_entropy.Params())(best, target, weight)) < 1e-6


# ---------------------------------------------------------------------------------------------------------- episodes


def clips_of(*lengths: int) -> Clips:
    """Clips whose features say where they come from: (clip, frame)."""
    frames = torch.tensor(lengths)
    rows = [torch.stack([torch.full((n,), float(i)), torch.arange(float(n))], 1) for i, n in enumerate(lengths)]
    return Clips(torch.cat(rows), frames.cumsum(0) - frames, frames, torch.zeros(2))


def test_crops_are_of_the_voice_they_are_drawn_for() -> None:
    clips = clips_of(30, 50, 0, 40, 60, 35)
    voice = torch.tensor([0, 1, 1, 0, 1, 2])
    grouped = Voices.of(clips, voice)
    assert (len(grouped), grouped.count.tolist()) == (3, [2, 2, 1])
    kinds = torch.tensor([0, 1, 2] * 40)
    crops, rows, _ = cut(grouped, kinds, 20, EpisodeParams(), torch.Generator().manual_seed(0))
    assert crops.shape == (120, 1, 2, 20)
    assert torch.equal(voice[rows], kinds)
    assert torch.equal(crops[:, 0, 0, 0].long(), rows)
    assert {0, 1, 3, 4, 5} == set(rows.tolist())  # never the empty one
    assert torch.equal(crops[:, 0, 1, 1] - crops[:, 0, 1, 0], torch.ones(120))
    assert (crops[:, 0, 1, -1] < clips.frames[rows]).all()


def test_another_speed_is_another_voice_and_reads_more_or_fewer_frames() -> None:
    grouped = Voices.of(clips_of(100, 100), torch.tensor([0, 1]))
    params = EpisodeParams(speeds=(1.0, 1.5))
    crops, rows, speed = cut(grouped, torch.tensor([0, 1, 2, 3]), 20, params, torch.Generator().manual_seed(0))
    assert rows.tolist() == [0, 0, 1, 1]
    assert speed.tolist() == [0, 1, 0, 1]
    spans = (crops[:, 0, 1, -1] - crops[:, 0, 1, 0]).tolist()
    assert spans == [19, 28, 19, 28]


def test_an_episode_of_the_document_pairs_every_voice_with_a_fresh_crop_of_the_target() -> None:
    params = EpisodeParams(shared=False)
    batch = draw_batch(6, 4, params, torch.Generator().manual_seed(3))
    samples, targets = batch.samples.view(4, 6), batch.targets.view(4, 6)
    assert all(sorted(row) == list(range(6)) for row in samples.tolist())
    assert all(len(set(row)) == 1 for row in targets.tolist())
    assert torch.equal(samples.gather(1, batch.truth[:, None]).squeeze(1), targets[:, 0])
    assert torch.equal(batch.samples[batch.positions], batch.targets)
    grouped = Voices.of(clips_of(*[500] * 6), torch.arange(6))
    crops, _, _ = cut(grouped, batch.targets, 20, params, torch.Generator().manual_seed(0))
    assert len(set(crops[:6, 0, 1, 0].tolist())) > 1


def test_shared_episodes_have_one_target_crop_each_and_every_candidate_in_turn() -> None:
    params = EpisodeParams(voices=5, speeds=(0.9, 1.0))
    batch = draw_batch(4, 15, params, torch.Generator().manual_seed(0))
    assert (len(batch.samples), len(set(batch.samples.tolist())), len(batch.targets)) == (5, 5, 15)
    assert torch.equal(batch.samples[batch.truth], batch.targets)
    assert torch.bincount(batch.truth).tolist() == [3] * 5
    assert len(draw_batch(4, 3, EpisodeParams(voices=99), torch.Generator()).samples) == 4


def test_short_clips_of_a_voice_are_joined_and_nothing_of_another_gets_in() -> None:
    clips, voice = clips_of(7, 90, 6, 8, 5, 9, 0), torch.tensor([0, 0, 0, 1, 0, 1, 1])
    joined, of = join_short(clips, voice, 10)
    assert of.tolist() == [0, 0, 1]
    assert joined.frames.tolist() == [90, 18, 17]
    features = [joined.features[a : a + n, 0] for a, n in zip(joined.offsets, joined.frames, strict=True)]
    assert [sorted(set(f.tolist())) for f in features] == [[1], [0, 2, 4], [3, 5]]
    alone, of = join_short(clips_of(4, 40), torch.tensor([0, 1]), 10)
    assert (alone.frames.tolist(), of.tolist()) == ([40, 4], [1, 0])


# ----------------------------------------------------------------------------------------------------------- hearing


def test_levels_are_mean_power_and_loudness_makes_no_difference() -> None:
    rng = np.random.default_rng(0)
    one = torch.from_numpy(rng.uniform(-70, -20, (50, 8))).half()
    clips = Clips(torch.cat([one, one + 12]), torch.tensor([0, 50]), torch.tensor([50, 50]), torch.zeros(8))
    found = levels(clips)
    assert float(found[0]) == pytest.approx(10 * math.log10(float((10 ** (one.float() / 10)).mean())), abs=1e-3)
    hear = VoiceInput(VoiceInputParams(), (1.0,), np.arange(1.0, 9))
    x = clips.crops(torch.tensor([0, 1]), torch.tensor([0, 0]), 50, "tile", torch.ones(2))
    heard = hear(x, found)
    assert torch.allclose(heard[0], heard[1], atol=2e-2)
    assert heard.min() >= -1.5


def test_power_is_what_the_document_feeds() -> None:
    hear = VoiceInput(VoiceInputParams(decibels=False, levelled=False), (1.0,), np.arange(1.0, 9))
    x = torch.full((1, 1, 8, 4), -20.0)
    assert torch.allclose(hear(x, torch.tensor([5.0])), torch.tensor(0.01))


def test_playing_faster_moves_bands_up_by_the_speed() -> None:
    centres = np.linspace(100, 6400, 64)
    matrices = speed_matrices((1.0, 1.25), centres)
    assert torch.equal(matrices[0], torch.eye(64))
    tone = torch.zeros(64)
    tone[19] = 1.0  # 2,000 Hz
    assert centres[int((matrices[1] @ tone).argmax())] == pytest.approx(2500, abs=51)


def test_a_voice_keeps_its_colour_for_an_episode() -> None:
    hear = VoiceInput(VoiceInputParams(colour_db=12), (1.0,), np.arange(1.0, 33))
    colours = hear.colours(3, 32, torch.Generator().manual_seed(0))
    assert colours.shape == (3, 1, 32, 1)
    assert 1 < colours.abs().max() <= 18
    heard = hear(torch.zeros(4, 1, 32, 5), torch.zeros(4), colour=colours[torch.tensor([0, 1, 2, 1])])
    assert torch.equal(heard[1], heard[3])
    assert not torch.equal(heard[0], heard[1])


@pytest.mark.parametrize("params", [{"equaliser_db": 12.0}, {"noise_share": 1.0}, {"narrow_share": 1.0}])
@pytest.mark.parametrize("waves", [False, True])
def test_another_recording_differs_stays_finite_and_comes_from_the_generator(
    params: dict[str, Any], waves: bool
) -> None:
    hear = VoiceInput(VoiceInputParams(**params), (1.0,), None if waves else np.arange(1.0, 33))
    x = torch.randn(4, 1, 1 if waves else 32, 50) * 10 ** (0 if waves else 1)
    level = torch.zeros(4)
    one, two, three = (hear(x, level, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert one.isfinite().all()
    assert torch.equal(one, three) == (waves and "narrow_share" in params)  # a narrow line is of spectrograms
    assert torch.equal(hear(x, level), hear(x, level))


# ------------------------------------------------------------------------------------------------------------- votes


def test_votes_come_back_from_their_shares() -> None:
    counted = np.array([[250, 0, 0], [100, 99, 51]])
    shares = votes.shares(counted)
    assert np.allclose(shares.sum(1), 1)
    assert (shares > 0).all()
    assert np.array_equal(votes.counts(shares.astype(np.float32).astype(float), 250), counted)


def test_one_vote_a_crop_goes_to_the_best_candidate_and_company_makes_no_difference(tiny: Callable[..., Call]) -> None:
    job = prepared(tiny())[0]
    net = learner.SiameseNetwork.build(job.experiment.config, torch.device("cpu"))
    from tonestack.features.store import Store

    fitted = learner.FittedSiamese(job, Store.open(job.cache, job.experiment.config.frontend, job.audio), net, 0)
    together = fitted.log_probabilities(job.test)
    assert together.shape == (4, 3)
    assert np.allclose(np.exp(together).sum(1), 1)
    assert np.array_equal(fitted.log_probabilities(job.test[2:3]), together[2:3])
    whole = votes.counts(np.exp(together), 30)
    assert whole.sum(1).tolist() == [30] * 4


def test_the_picture_is_drawn_and_the_csv_is_inert(tmp_path: Path) -> None:
    table = votes.long(np.array([[3, 1], [0, 4]]), ["a.wav", "=b.wav"], ["x$", "y"])
    assert table["count"].tolist() == [3, 1, 0, 4]
    write_csv(tmp_path / "votes.csv", table)
    assert "\n'=b.wav," in (tmp_path / "votes.csv").read_text()
    assert read_csv(tmp_path / "votes.csv", ["query", "candidate"]).equals(table)
    lines = votes.rendered(table, {"a.wav": "y"})
    assert [line["taken for"] for line in lines] == ["x$", "y"]
    assert [line[""] for line in lines] == ["wrong: y", ""]
    assert votes.draw(tmp_path / "v.png", table, {"a.wav": "y"}).read_bytes()[:4] == b"\x89PNG"


# ------------------------------------------------------------------------------------------------------------ reader


def test_the_layout_is_read_and_names_are_the_truth(voices_root: Path) -> None:
    competition = reader.read(reader.Params(), voices_root)
    assert competition.classes == ("v0", "v1", "v2")
    assert len(competition.train) == 12
    assert competition.train["label"].tolist() == [path.split("/")[0] for path in competition.train["path"]]
    assert competition.test["clip_id"].tolist() == ["stranger.flac", "v0.flac", "v1.wav", "v2.ogg"]
    table = reader.scoring_table(reader.Params(), voices_root)
    assert table is not None
    truth = scoring.read(table, competition.classes, tasks.find("match"))
    assert truth[["clip_id", "label"]].to_numpy().tolist() == [["v0.flac", "v0"], ["v1.wav", "v1"], ["v2.ogg", "v2"]]
    fewer = reader.read(reader.Params(voices=2), voices_root)
    assert (fewer.classes, len(fewer.train)) == (("v0", "v1"), 8)
    assert fewer.test["clip_id"].tolist() == ["stranger.flac", "v0.flac", "v1.wav"]


def test_folders_that_hold_no_voices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such folder"):
        reader.read(reader.Params(), tmp_path / "no")
    with pytest.raises(UserError, match="0 folders with clips; matching needs one folder each of two voices"):
        reader.read(reader.Params(), tmp_path)


def test_sessions_inside_a_voice_are_groups(tmp_path: Path) -> None:
    for name in ("a/s1/x.wav", "a/s2/x.wav", "b/x.wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(10), 8000)
    competition = reader.read(reader.Params(), tmp_path)
    assert competition.train["group"].tolist() == ["a/s1", "a/s2", ""]
    assert competition.submission is None


# -------------------------------------------------------------------------------------------------------- the spine


def test_a_killed_judge_goes_on_and_ends_in_the_same_numbers(tiny: Callable[..., Call], tmp_path: Path) -> None:
    (job, _) = prepared(tiny("training.epochs=3"))
    whole = fold_job.run(job)
    again = replace(job, folder=tmp_path / "again")

    class KilledError(Exception):
        pass

    original, epochs = job_module.write_text, []

    def stop(path: Path, text: str) -> None:
        original(path, text)
        epochs.append(text)
        if len(epochs) == 2:
            raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job_module, "write_text", stop)
        with pytest.raises(KilledError):
            fold_job.run(again)
    assert (again.folder / "fold0.state.safetensors").is_file()
    receipt = fold_job.run(again)
    assert receipt["metrics"] == whole["metrics"]
    assert not list(again.folder.glob("*.state.*"))
    for suffix in ("parquet", "safetensors"):
        one, two = ((folder / f"fold0.{suffix}").read_bytes() for folder in (job.folder, again.folder))
        assert one == two


def toy_speech(voices: np.ndarray, seed: int) -> Clips:
    """Clips of a second and more: noise in dB over each voice's own curve, at any level."""
    rng = np.random.default_rng(seed)
    curves = 10 * np.sin(np.arange(64)[None] * np.array([0.1, 0.17, 0.25, 0.4])[:, None])
    pieces = [curves[v] + rng.normal(0, 6, (150, 64)) + rng.uniform(-30, -10) for v in voices]
    frames = torch.full((len(voices),), 150)
    features = torch.from_numpy(np.concatenate(pieces).astype(np.float16))
    return Clips(features, frames.cumsum(0) - frames, frames, torch.zeros(64))


def learnt(run: Call, voices: np.ndarray) -> tuple[learner.SiameseNetwork, learner.Speakers, list[dict[str, float]]]:
    """A Judge trained on toy speech labelled with `voices`, and its history."""
    settings = run.experiments()[0].config
    loss = parts.find("losses", settings.loss["name"])
    torch.manual_seed(0)
    net = learner.SiameseNetwork.build(settings, torch.device("cpu"))
    speakers = learner.Speakers.of(toy_speech(np.repeat(np.arange(4), 3), 0), voices, 60)
    return net, speakers, learner.learn(net, loss.build(loss.Params()), speakers, 0).epochs


def test_a_judge_learns_to_tell_voices_and_nothing_from_shuffled_ones(tiny: Callable[..., Call]) -> None:
    words = ["training.epochs=2", "network.episodes.steps=20", "training.batch_size=8", "training.lr=0.003"]
    words += ["network.episodes.speeds=[1.0]", "training.ema=0.5"]
    words += [f"network.hearing.{key}=0" for key in ("noise_share", "narrow_share", "equaliser_db", "colour_db")]
    truth = np.repeat(np.arange(4), 3)
    queries = toy_speech(truth, 1)
    shares = []
    for voices in (truth, np.random.default_rng(0).permutation(truth)):
        net, speakers, _ = learnt(tiny(*words), voices)
        pool = learner.references(net, speakers, 0)
        counted = np.stack([learner.vote(net, pool, queries, levels(queries), row, row) for row in range(12)])
        assert counted.sum(1).tolist() == [30] * 12
        shares.append((counted.argmax(1) == truth).mean())
    assert shares[0] > 0.9
    assert shares[1] < 0.7


def test_the_faithful_preset_trains_as_the_document_does(tiny: Callable[..., Call]) -> None:
    run = tiny("preset=faithful", "network.episodes.steps=6", "training.epochs=1", "training.batch_size=4")
    settings = run.experiments()[0].config
    assert (settings.training.lr, settings.training.weight_decay, settings.training.ema) == (3e-5, 1e-5, 0)
    assert settings.network["hearing"]["decibels"] is False
    assert settings.network["shortcut"] is False
    assert settings.network["episodes"]["shared"] is False
    (entry,) = learnt(run, np.repeat(np.arange(4), 3))[2]
    floor = math.log(1 + 3 * math.exp((1 - math.e) / (math.e + 3)))
    assert floor < entry["loss"] < math.log(4) + 0.1
    assert entry["lr"] == 3e-5


def test_the_whole_pipeline_leaves_votes_scores_and_pictures(
    tiny: Callable[..., Call], capsys: pytest.CaptureFixture[str]
) -> None:
    import all as pipeline

    run = tiny()
    pipeline.run(run)
    folder = run.oof / "judge_conv2d_none@r0"
    table = pd.read_csv(folder / "votes.csv")
    assert list(table.columns) == ["query", "candidate", "count"]
    assert table.groupby("query")["count"].sum().to_dict() == dict.fromkeys(
        ["stranger.flac", "v0.flac", "v1.wav", "v2.ogg"], 60
    )  # two folds of thirty
    assert (run.reports / "votes-judge_conv2d_none@r0.png").is_file()
    board = pd.read_csv(run.oof / "leaderboard.csv").set_index("experiment")
    assert 0 <= board.loc["judge_conv2d_none@r0", "public"] <= 1
    said = capsys.readouterr().out
    assert "of 3 voices right" in said
    submitted = pd.read_csv(run.submissions / "submission.csv")
    assert submitted["fname"].tolist() == ["stranger.flac", "v0.flac", "v1.wav", "v2.ogg"]
    means = pd.concat([pd.read_parquet(p).query("part == 'test'") for p in folder.glob("fold*.parquet")])
    shares = means.drop(columns="part").groupby("clip_id").mean()
    wide = votes.wide(table)
    assert np.allclose(shares.loc[wide.index, wide.columns], votes.shares(wide.to_numpy()), atol=0.02)


def test_a_new_voice_is_enrolled_without_training(tiny: Callable[..., Call], voices_root: Path, tmp_path: Path) -> None:
    import match

    run = tiny()
    match.train.run(run)
    before = {path: path.stat().st_mtime_ns for path in run.oof.rglob("*.safetensors")}
    folder = tmp_path / "new voice"
    folder.mkdir()
    for k in range(3):
        soundfile.write(folder / f"{k}.wav", formant.voice(77).say("", 0.3, np.random.default_rng(k))[0], 24000)
    wanted = match.Wanted(clip=(str(voices_root / "stranger.flac"),), enrol=str(folder))
    table = match.run(run, wanted)
    assert table["candidate"].tolist() == ["v0", "v1", "v2", "new voice"]
    assert table["count"].sum() == 60
    assert {path: path.stat().st_mtime_ns for path in run.oof.rglob("*.safetensors")} == before
    assert (run.reports / "match.csv").is_file()
    alone = replace_known(wanted)
    with pytest.raises(UserError, match="there is only one candidate"):
        match.run(run, alone)
    (tmp_path / "v1").mkdir()
    soundfile.write(tmp_path / "v1" / "x.wav", np.zeros(2400), 24000)
    with pytest.raises(UserError, match="'v1' is among the voices already"):
        match.run(run, wanted.model_copy(update={"enrol": str(tmp_path / "v1")}))


def replace_known(wanted: Any) -> Any:
    return wanted.model_copy(update={"known": False})


def test_match_refuses_what_it_cannot_do(tiny: Callable[..., Call], tmp_path: Path) -> None:
    import match

    with pytest.raises(UserError, match="name a recording"):
        match.run(tiny(), match.Wanted())
    with pytest.raises(UserError, match="is of task classify"):
        match.run(Call.from_arguments(["data=demo"]), match.Wanted(clip=("a.wav",)))
    with pytest.raises(UserError, match=r"enrol=.*no such folder"):
        voice_matching.enrolled(tmp_path / "no")
    with pytest.raises(UserError, match="holds no recordings"):
        voice_matching.enrolled(tmp_path)
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    experiment = tiny().experiments()[0]
    with pytest.raises(UserError, match=r"bad\.wav: cannot be decoded"):
        voice_matching._features([tmp_path / "bad.wav"], experiment, tiny().data.audio)


# ------------------------------------------------------------------------------------------------------- a voice set


def test_a_set_of_voices_is_made_once_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    wanted = VoiceSet(n=2, prompts=2, voice="formant")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(voice_set, "SECONDS", (0.2, 0.4))
        voice_set.make(tmp_path / "set", wanted, 1)
        names = sorted(str(p.relative_to(tmp_path / "set")) for p in (tmp_path / "set").rglob("*.flac"))
        assert names == [
            *("voice-1.flac", "voice-1/prompt-0.flac", "voice-1/prompt-1.flac"),
            *("voice-2.flac", "voice-2/prompt-0.flac", "voice-2/prompt-1.flac"),
        ]
        times = {p: p.stat().st_mtime_ns for p in (tmp_path / "set").rglob("*")}
        voice_set.make(tmp_path / "set", wanted, 1)
        assert {p: p.stat().st_mtime_ns for p in (tmp_path / "set").rglob("*")} == times
        lost = tmp_path / "set" / "voice-2" / "prompt-1.flac"
        content = lost.read_bytes()
        lost.unlink()
        (tmp_path / "set" / "voices.json").write_text(
            (tmp_path / "set" / "voices.json").read_text().replace("true", "false")
        )
        voice_set.make(tmp_path / "set", wanted, 1)
        assert lost.read_bytes() == content
        assert (tmp_path / "set" / "voice-1.flac").stat().st_mtime_ns == times[tmp_path / "set" / "voice-1.flac"]
        with pytest.raises(UserError, match="was made with prompts=2, not 3"):
            voice_set.make(tmp_path / "set", VoiceSet(n=2, prompts=3, voice="formant"), 1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").touch()
    with pytest.raises(UserError, match="holds something other than generated voices"):
        voice_set.make(tmp_path / "other", wanted, 1)
    competition = reader.read(reader.Params(), tmp_path / "set")
    assert competition.classes == ("voice-1", "voice-2")
    assert soundfile.info(tmp_path / "set" / "voice-1.flac").samplerate == 24000


def test_a_generator_that_lacks_something_is_refused_and_auto_takes_what_there_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="voice=espeak: espeak-ng is not installed"):
        VoiceSet(voice="espeak").settled()
    assert VoiceSet().settled().voice == "formant"
    with pytest.raises(UserError, match="weights= is of voice=bark"):
        VoiceSet(voice="formant", weights="x").settled()
    with pytest.raises(UserError, match="no voice is called 'bork'"):
        VoiceSet(voice="bork").settled()


# ------------------------------------------------------------------------------------------------------------ studies


def test_a_study_of_the_number_of_voices_has_a_competition_for_each(tiny: Callable[..., Call]) -> None:
    import study

    run = tiny("name=judge_voices", "network.episodes.steps=1", "training.epochs=1").but(model=None)
    study.run(run)
    text = (run.home / "reports/voices/study-judge_voices.md").read_text()
    for line in ("| two voices | 1.000 | ", "| six voices | 1.000 | ", "| ten voices | 0.700 | "):
        assert line in text
    assert "not run" not in text
    tables = {
        path.parent.name: pd.read_parquet(path) for path in run.home.glob("oof/voices-judge_voices/*/fold0.parquet")
    }
    columns = {name: list(table.columns[2:]) for name, table in tables.items()}
    assert columns["judge_conv2d_lstm-two@r0"] == ["v0", "v1"]
    assert columns["judge_conv2d_lstm-ten@r0"] == ["v0", "v1", "v2"]
    assert (run.home / "folds/voices-two/r0.csv").is_file()
