"""Five first uses, by the commands of the README alone, each in a folder of its own."""

import csv
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import uvicorn
from PIL import Image
from starlette.testclient import TestClient
from support import picture
from test_cli import call

from smallset.choose import candidates, finetune, fresh, scratch

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHOWN = {
    " ".join(line.partition("  #")[0].split())
    for language, block in re.findall(
        r"^```(\w*)\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE
    )
    if not language
    for line in block.splitlines()
}
CHECK = "smallset check pictures/"
BEST = "smallset best pictures/ --out runs/best --minutes 5 --skip-unreadable --skip-empty"
PREDICT = "smallset predict runs/best new/ --out preds.csv --page preds.html"
STUDIES = "smallset study --list"
STUDY = "smallset study losses --data pictures/ --out runs/losses"
MINE = "smallset train pictures/ --out runs/mine --model mine:Net --loss mine:loss"
BY_MINE = "smallset predict runs/mine new/ --out preds.csv --own-code"
CLEAN = "smallset clean pictures/ --out runs/clean --with self"
REVIEW = "smallset review runs/clean"
BETTER = "smallset train runs/clean --out runs/better"
FIRST = "smallset train pictures/ --out runs/first"
REPORT = "smallset report runs/first"
REFUSE = "smallset predict runs/first new/ --out preds.csv --reject 0.05"
EXPORT = "smallset export runs/first"
SERVE = "smallset serve runs/first"
HERE = "http://127.0.0.1:8000"
TINY = "--image-size 32 --epochs 1 --batch-size 8 --set figures.tsne=false"


@pytest.mark.parametrize(
    "command",
    [CHECK, BEST, PREDICT, STUDIES, STUDY, MINE, BY_MINE, CLEAN, REVIEW, BETTER, FIRST, REPORT,
     REFUSE, EXPORT, SERVE],
)  # fmt: skip
def test_a_step_of_a_first_use_stands_in_the_readme(command):
    assert command in SHOWN


@pytest.fixture
def use(tmp_path, monkeypatch, capsys):
    """A command of the README, in a folder of a newcomer's; `more` makes it quick."""
    monkeypatch.chdir(tmp_path)

    def run(command, more="", status=0):
        done = call(capsys, monkeypatch, *shlex.split(f"{command} {more}")[1:])
        assert done[0] == status, done
        return done[1] + done[2]

    return run


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def pictures(tmp_path, split_folders):
    """Pictures of three classes with splits of their own, and some new ones."""
    for split in ("train", "val", "test"):
        for name in ("ant", "bee", "cat"):
            shutil.copytree(split_folders / split / name, tmp_path / "pictures" / split / name)
    (tmp_path / "new").mkdir()
    for n in range(3):
        picture(n, 900 + n).save(tmp_path / f"new/{n}.PNG")
    return tmp_path / "pictures"


CLASSES = ["Été à la mer", "蝴蝶", "🦋 favourites"]


@pytest.fixture
def phone(tmp_path):
    """What people copy from a phone: bursts, turned by EXIF, among videos and half a picture."""
    for label, name in enumerate(CLASSES):
        for n in range(6):
            minute, second = divmod(n, 3)
            file = f"IMG_20240511_10{10 * label + minute:02}{second:02}.{('jpg', 'JPG')[n % 2]}"
            place = tmp_path / "pictures" / name / ("trip 2" if n == 4 else "") / file
            place.parent.mkdir(parents=True, exist_ok=True)
            exif = Image.Exif()
            exif[0x112] = (1, 3, 6, 8)[n % 4]
            picture(label, n).save(place, exif=exif, quality=95)
    odd = tmp_path / "pictures" / CLASSES[0]
    whole = next(odd.glob("*.jpg")).read_bytes()
    (odd / "half.jpg").write_bytes(whole[: len(whole) // 2])
    film = b"\0\0\0\x18ftypmp42" + bytes(99)
    for name, content in {
        ".DS_Store": b"x", "Thumbs.db": b"x", "VID_1.mp4": film,
        "IMG_1.HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "huge.png": b"",
    }.items():  # fmt: skip
        (odd / name).write_bytes(content)
    Image.new("1", (10100, 10000)).save(odd / "huge.png")
    (tmp_path / "pictures/empty").mkdir()
    (tmp_path / "new/day 1").mkdir(parents=True)
    for label in range(3):
        picture(label, 99).save(tmp_path / f"new/day 1/IMG_{label}.JPG")
    (tmp_path / "new/clip.mov").write_bytes(film)
    return tmp_path


def test_photographs_of_a_phone_become_a_page_and_answers(use, phone, squeeze_file, monkeypatch):
    said = use(CHECK, status=1)
    assert "train and best deal these images into 5 folds, for" in said
    assert "DecompressionBomb" not in said
    for problem in ("half.jpg: damaged or cut short", "is 101 megapixels", "1 x .mp4", "trip 2"):
        assert problem in said
    assert re.search(r"stops training: 3 x unreadable; .* --skip-unreadable", said)
    assert re.search(r"stops training: 1 x empty; .* --skip-empty", said)
    for module in (candidates, finetune, scratch):
        monkeypatch.setattr(module, "milliseconds", lambda run, train=False: 9.0)
    monkeypatch.setattr(finetune, "MOST_EPOCHS", 0)
    monkeypatch.setattr(fresh, "SHARE", 0.0)
    monkeypatch.setattr(candidates, "SHARE_OF_MIRROR", 0.0)
    said = use(BEST, f"--networks squeezenet1_1={squeeze_file}")
    assert re.search(r"chosen: .*\n(.*\n)*page:     runs/best/report.html", said)
    story = json.loads((phone / "runs/best/best.json").read_text(encoding="utf-8"))
    assert story["classes"] == CLASSES
    assert "蝴蝶" in (phone / "runs/best/report.html").read_text(encoding="utf-8")
    said = use(PREDICT)
    assert "left out: 1 x .mov" in said
    rows = rows_of(phone / "preds.csv")
    assert [row["path"] for row in rows] == [f"new/day 1/IMG_{n}.JPG" for n in range(3)]
    assert {row["predicted"] for row in rows} <= set(CLASSES)
    assert (phone / "preds.html").stat().st_size > 10_000
    for command, why in {
        "smallset predict new/ runs/best": "the run comes first, then the images: runs/best new",
        "smallset serve pictures/": "give the folder that train or best named .*: runs/best",
        "smallset check runs/best": "is what a run or a study left, no pictures",
        "smallset check picture/": "no data at picture; did you mean pictures",
    }.items():
        assert re.search(why, use(command, status=2))


def test_the_course_report_is_repeated(use, pictures):
    assert "losses" in use(STUDIES)
    arms = "--arms plain-cross-entropy,plain-mse --seeds 1 --execute serial"
    said = use(STUDY, f"{arms} --set epochs=1 --set image_size=32 --set figures.tsne=false")
    assert re.search(r"page:     .*runs/losses/report.html", said)
    study = pictures.parent / "runs/losses"
    assert [row["arm"] for row in rows_of(study / "summary.csv")] == [
        "plain-cross-entropy", "plain-mse",
    ]  # fmt: skip
    [row] = rows_of(study / "comparisons.csv")
    assert row["verdict"] in ("these two networks differ", "cannot tell")


def test_a_network_of_one_s_own_is_trained_and_asked(use, pictures):
    page = (ROOT / "docs/own-code.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(# mine.py\n.*?)```", page, flags=re.DOTALL)[0]
    (pictures.parent / "mine.py").write_text(code)
    use(MINE, f"{TINY} --set figures.report=false")
    assert "--own-code" in use(BY_MINE.removesuffix(" --own-code"), status=2)
    use(BY_MINE)
    assert len(rows_of(pictures.parent / "preds.csv")) == 3


def test_wrong_labels_are_found_reviewed_and_left_behind(use, pictures, monkeypatch, capsys):
    for n in range(2):
        shutil.move(pictures / f"train/ant/{n}.png", pictures / f"train/bee/wrong{n}.png")
    said = use(CLEAN, status=1)
    clean = pictures.parent / "runs/clean"
    assert "review:   smallset review runs/clean" in said
    suspects = [row for row in rows_of(clean / "labels.csv") if row["decision"] != "keep"]
    assert {"train/bee/wrong0.png", "train/bee/wrong1.png"} <= {row["path"] for row in suspects}

    def drop(server, sockets):
        [key] = re.findall(r"\?key=(\S+)", capsys.readouterr().out)
        headers = {"origin": HERE}
        client = TestClient(server.config.app, base_url=HERE, headers=headers)
        assert client.get(f"/?key={key}").status_code == 200
        images = client.get("/state").json()["images"]
        [number] = [n for n, each in enumerate(images) if each["path"] == "train/bee/wrong0.png"]
        seen = {name: images[number][name] for name in ("decision", "suggested", "by")}
        wish = {"image": number, "decision": "drop", "seen": seen}
        assert client.post("/decide", json=wish).status_code == 200

    monkeypatch.setattr(uvicorn.Server, "run", drop)
    assert "reviewed: 1 images (keep 0, relabel 0, drop 1)" in use(REVIEW, "--no-browser --by ann")
    use(BETTER, f"{TINY} --set figures.report=false")
    learnt = {
        row["path"]: row["given_label"]
        for row in rows_of(pictures.parent / "runs/better" / "predictions.csv")
    }
    assert "train/bee/wrong0.png" not in learnt
    assert learnt["train/bee/wrong1.png"] == "ant"


def test_a_classifier_goes_to_others(use, pictures, monkeypatch):
    said = use(FIRST, TINY)
    page = pictures.parent / "runs/first/report.html"
    assert f"page:     {page.relative_to(pictures.parent)}" in said
    page.unlink()
    use(REPORT)
    assert page.exists()
    use(REFUSE, "--reject 0.2")  # of nine val images
    assert {"predicted", "unknown"} <= rows_of(pictures.parent / "preds.csv")[0].keys()
    use(EXPORT)
    assert {"model.onnx", "README.md"} <= {
        path.name for path in (page.parent / "onnx").iterdir()
    }  # fmt: skip
    told = []

    def ask(server, sockets):
        client = TestClient(server.config.app, base_url=HERE)
        assert client.get("/").status_code == 200
        photograph = (pictures.parent / "new/0.PNG").read_bytes()
        told.append(client.post("/predict", files={"images": ("a.png", photograph)}).json())

    monkeypatch.setattr(uvicorn.Server, "run", ask)
    use(SERVE, "--port 0")
    [[answer]] = [each["images"] for each in told]
    assert answer["predicted"] == rows_of(pictures.parent / "preds.csv")[0]["predicted"]
