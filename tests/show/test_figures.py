import numpy as np
import pytest
from matplotlib.figure import Figure
from support import Listening, picture

import smallset
from smallset.show.embed import Plane, neighbour_accuracy, principal_axes, tsne
from smallset.show.fonts import FontChoice, choose_fonts
from smallset.show.run_plots import confusion_matrix, feature_scatter, training_curves
from smallset.show.study_plots import Point, accuracy_chart
from smallset.stats import Interval


def blobs(per_class, seed):
    rng = np.random.default_rng(seed)
    centres = np.eye(3, 20) * 10
    labels = np.repeat(np.arange(3), per_class)
    return (centres[labels] + rng.normal(size=(len(labels), 20))).astype(np.float16), labels


def test_pca_is_fitted_on_train_and_agrees_with_the_singular_values():
    train, _ = blobs(20, 0)
    test, _ = blobs(5, 1)
    plane = principal_axes(train, test).plane
    centred = train.astype(float) - train.astype(float).mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    assert plane.explained == pytest.approx((sizes[:2] ** 2).sum() / (sizes**2).sum(), rel=1e-3)
    expected = (test.astype(float) - train.astype(float).mean(axis=0)) @ axes[:2].T
    np.testing.assert_allclose(np.abs(plane.test), np.abs(expected), atol=1e-2)


def test_tsne_keeps_classes_together_and_repeats_itself():
    train, labels = blobs(20, 0)
    test, test_labels = blobs(5, 1)
    plane, again = (tsne(principal_axes(train, test)) for _ in range(2))
    np.testing.assert_array_equal(plane.train, again.train)
    nearest = np.linalg.norm(plane.test[:, None] - plane.train, axis=2).argmin(axis=1)
    assert (labels[nearest] == test_labels).all()


def test_tsne_takes_very_few_points():
    assert tsne(principal_axes(np.eye(3, 8), np.eye(2, 8))).test.shape == (2, 2)


def test_equal_embeddings_have_no_axes_to_tell_of():
    axes = principal_axes(np.ones((5, 4)), np.ones((3, 4)))
    assert axes.plane.explained is None
    assert not axes.plane.test.any()


def test_neighbours_vote_as_counted_by_hand():
    rng = np.random.default_rng(3)
    train, test = rng.normal(size=(40, 3)), rng.normal(size=(12, 3))
    labels, test_labels = rng.integers(0, 2, 40), rng.integers(0, 2, 12)
    right = 0
    for point, label in zip(test, test_labels, strict=True):
        nearest = np.argsort(np.linalg.norm(train - point, axis=1))[:10]
        votes = np.bincount(labels[nearest], minlength=2)
        right += int(votes.argmax() == label)
    assert neighbour_accuracy(train, labels, test, test_labels) == right / 12


def texts(figure):
    return [t.get_text() for t in figure.findobj(lambda a: hasattr(a, "get_text"))]


HISTORY = [
    {
        "stage": stage, "objective": name, "epoch": epoch, "lr": 0.1,
        "train_loss": 1.0 / (epoch + 1),
        "train_accuracy": 0.5, "val_loss": None, "val_accuracy": None, "seconds": 1.0,
    }
    for stage, name in ((0, "triplet-cosine"), (1, "cross-entropy"))
    for epoch in range(3)
]  # fmt: skip


def test_curves_have_a_panel_for_each_stage_and_name_the_test_accuracy():
    figure = training_curves(HISTORY, 0.755, title="t")
    assert len(figure.axes) == 3
    assert {"loss: triplet-cosine", "loss: cross-entropy", "accuracy"} <= set(texts(figure))
    assert any("75.5%" in text for text in texts(figure))
    lines = figure.axes[-1].get_lines()
    assert np.size(lines[0].get_xdata()) == 6  # no line for val: there is none


def test_the_confusion_matrix_writes_every_count_under_its_names():
    counts = np.array([[5, 1], [0, 7]])
    written = texts(confusion_matrix(counts, ["ant", "bee"], title="t"))
    assert {"5", "1", "7", "ant", "bee"} <= set(written)


def test_figures_are_written_in_chinese_too():
    figure = training_curves(HISTORY, 0.755, title="t", lang="zh")
    assert {"损失：triplet-cosine", "准确率", "轮次"} <= set(texts(figure))  # noqa: RUF001
    written = texts(confusion_matrix(np.eye(2, dtype=int), ["a", "b"], title="t", lang="zh"))
    assert {"预测类别", "真实类别"} <= set(written)


def test_points_of_train_and_test_share_axes_and_a_legend():
    plane = Plane(np.zeros((4, 2)), np.ones((2, 2)), None)
    labels = np.array([0, 0, 2, 2]), np.array([0, 2])
    figure = feature_scatter(plane, *labels, ["a", "b", "c"], chosen=[0, 2], title="t")
    assert isinstance(figure, Figure)
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["a", "c"]
    assert "train (4 images)" in texts(figure)


def test_fonts_cover_what_they_can_and_name_what_they_cannot():
    assert choose_fonts(["cat", "Käfer", "Жук"]) == (["DejaVu Sans"], "")
    choice = choose_fonts(["\U0010fffd cat"])  # a code point no font has
    assert choice.missing == "\U0010fffd"


@pytest.mark.parametrize(
    ("missing", "advice"),
    [
        ("猫", "boxes; install Noto Sans CJK (Debian: apt install fonts-noto-cjk)"),
        ("ね한", "boxes; install Noto Sans CJK (Debian: apt install fonts-noto-cjk)"),
        ("🐝", "boxes; install Symbola (Debian: apt install fonts-symbola)"),
        ("แมว", "boxes; install Noto Sans of that script (Debian: apt install fonts-noto-core)"),
        ("🐝猫", "fonts-noto-cjk) and Symbola (Debian: apt install fonts-symbola)"),
        ("\U0010fffd", "boxes; give them other names"),
    ],
)
def test_the_note_names_a_font_that_has_the_missing_characters(missing, advice):
    note = FontChoice([], missing).note
    assert repr(missing) in note
    assert note.endswith(advice)


def test_a_font_that_was_installed_after_matplotlib_made_its_list_is_found(monkeypatch):
    from matplotlib import font_manager

    from smallset.show import fonts

    there = [path for path in font_manager.findSystemFonts() if "CJK" in path]
    if not there:
        pytest.skip("no Chinese font here (Debian: apt install fonts-noto-cjk)")
    old = [font for font in font_manager.fontManager.ttflist if "CJK" not in font.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", old)
    fonts._find_new_fonts.cache_clear()
    fonts._characters.cache_clear()
    choice = choose_fonts(["损失"])
    assert choice.missing == ""
    assert "CJK" in choice.families[1]


def test_the_last_resort_font_is_no_font():
    assert not any("Last Resort" in name for name in choose_fonts(["\U0010fffd"]).families)


def test_names_no_font_has_are_noted_once_and_the_figures_are_drawn(tmp_path, tiny):
    """Warnings are errors here, so matplotlib's own, one per character, would end the test."""
    for label, name in enumerate(["a", "\U0010fffd"]):
        for split in ("train", "test"):
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for n in range(4):
                picture(label, n + 10 * len(split)).save(
                    tmp_path / "set" / split / name / f"{n}.png"
                )
    listening = Listening()
    record = smallset.train(
        tmp_path / "set", tiny(epochs=1), out=tmp_path / "run", reporter=listening
    )
    assert len([note for note in listening.notes if "no installed font has" in note]) == 1
    assert (record.folder / "figures" / "pca.png").exists()


@pytest.mark.filterwarnings("error")
def test_features_of_a_network_that_diverged_are_drawn_as_those_of_another():
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(20, 6)), rng.normal(size=(5, 6))
    axes = principal_axes(train * 1e30, test * 1e30)
    assert axes.plane.explained == pytest.approx(principal_axes(train, test).plane.explained)
    assert np.isfinite(axes.train).all()
    assert np.isfinite(axes.test).all()


def test_a_chart_of_a_study_has_ticks_at_what_was_measured_and_shares_in_percent():
    points = [Point(x, Interval(0.5, 0.4, 0.6)) for x in (0.1, 0.3)]
    for percents, expected in ((True, ["10%", "30%"]), (False, ["0.1", "0.3"])):
        figure = accuracy_chart({"a": points}, title="t", x_label="x", log=False, percents=percents)
        [axis] = figure.axes
        assert [tick.get_text() for tick in axis.get_xticklabels()] == expected
