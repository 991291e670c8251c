"""Decisions by hand: the file, the locks of the server, and the page in a browser."""

import asyncio
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from accessible import faults
from starlette.testclient import TestClient

from smallset.clean import review as review_module
from smallset.clean.review import HISTORY, Conflict, Review, alone
from smallset.data.cleaned import COLUMNS, WRITTEN
from smallset.data.read import read_data
from smallset.errors import DataError, RunError
from smallset.use.review_server import Album, PageGuard, build_app

NAMES = ["ant", "bee", "cat", "dog"]


def make_folder(made, data, splits=("train",), suspects=2):
    """A cleaned set as `smallset clean` leaves it, with every so-many-th image a suspect."""
    images = read_data(data)
    rows = []
    for n, at in enumerate(np.flatnonzero(np.isin(images.splits, splits))):
        given = NAMES[images.labels[at]]
        other = NAMES[(images.labels[at] + 1) % 4]
        suspect = n % suspects == 0
        rows.append([
            images.paths[at], f"id{n}", given, other if suspect else given,
            "0.01" if suspect else "0.99", "relabel" if suspect else "keep", "smallset", "",
            "0.97" if suspect else "0.99",
        ])  # fmt: skip
    made.mkdir()
    with (made / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([WRITTEN, *rows])
    np.save(made / "features.npy", np.random.default_rng(0).normal(size=(len(rows), 8)))
    about = {"data": str(data), "noise": {"rate": 0, "seed": 0}}
    (made / "clean.json").write_text(json.dumps(about))
    return made


@pytest.fixture
def folder(split_folders, tmp_path):
    return make_folder(tmp_path / "clean", split_folders)


def rows_of(folder):
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_rows(folder, rows):
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def state(row):
    return {name: row[name] for name in ("decision", "suggested", "by")}


# -- The file --------------------------------------------------------------------------------------


def test_the_surest_are_accepted_at_once_and_taken_back_at_once(folder):
    before = rows_of(folder)
    sure = [n for n, row in enumerate(before) if row["decision"] == "relabel"]
    review = Review(folder, "ann")
    review.decide(sure[0], "drop", "", seen=state(before[sure[0]]))
    assert review.accept(0.01) == []
    assert review.accept(0.011) == sure[1:]
    after = rows_of(folder)
    assert [row["by"] for row in after] == [
        "ann" if row["decision"] != "keep" else "smallset" for row in after
    ]
    assert all(after[n]["suggested"] == before[n]["suggested"] for n in sure[1:])
    again = Review(folder, "ann")
    assert sorted(again.undo()) == sure[1:]
    assert [state(row) for row in rows_of(folder)[1:]] == [state(row) for row in before[1:]]
    assert again.undo() == [sure[0]]
    assert rows_of(folder) == before
    assert again.undo() == []


def test_a_label_that_looks_contradict_is_a_suspect_whatever_its_probability(folder):
    rows = rows_of(folder)
    assert not Review(folder, "ann").rows()[1].is_suspect
    rows[1]["why"] = "contradicted"
    write_rows(folder, rows)
    review = Review(folder, "ann")
    assert review.rows()[1].is_suspect
    review.decide(1, "keep", "", seen=state(rows[1]))
    assert rows_of(folder)[1]["why"] == "contradicted"


def test_a_decision_changes_its_row_alone_and_is_on_disk(folder):
    before = rows_of(folder)
    review = Review(folder, "ann")
    review.decide(2, "drop", "", seen=state(before[2]))
    review.decide(4, "relabel", "dog", seen=state(before[4]))
    review.decide(1, "keep", "", seen=state(before[1]))
    after = rows_of(folder)
    assert state(after[2]) == {**state(before[2]), "decision": "drop", "by": "ann"}
    assert state(after[4]) == {"decision": "relabel", "suggested": "dog", "by": "ann"}
    assert state(after[1]) == {**state(before[1]), "by": "ann"}
    others = [n for n in range(len(after)) if n not in (1, 2, 4)]
    assert [after[n] for n in others] == [before[n] for n in others]
    changing = {*state(after[4]), "suggested_probability"}  # of what smallset suggested
    kept = {n: {k: v for k, v in after[n].items() if k not in changing} for n in (1, 2, 4)}
    assert [after[n]["suggested_probability"] for n in (1, 2, 4)] == ["0.99", "0.97", ""]
    assert all(before[n].items() >= kept[n].items() for n in kept)


def test_the_probability_of_a_suggestion_goes_with_it_and_comes_back(folder):
    before = rows_of(folder)
    review = Review(folder, "ann")
    review.decide(0, "relabel", before[0]["suggested"], seen=state(before[0]))
    assert rows_of(folder)[0]["suggested_probability"] == "0.97"
    review.decide(2, "relabel", "dog", seen=state(before[2]))
    assert (before[2]["suggested"], rows_of(folder)[2]["suggested_probability"]) == ("bee", "")
    assert Review(folder, "ben").rows()[2].suggested_probability is None
    assert [Review(folder, "ben").undo(), review.undo()] == [[2], [0]]
    assert rows_of(folder) == before


def test_a_folder_of_an_earlier_version_can_be_reviewed(folder):
    rows = [{k: v for k, v in row.items() if k in COLUMNS} for row in rows_of(folder)]
    write_rows(folder, rows)
    review = Review(folder, "ann")
    assert {row.suggested_probability for row in review.rows()} == {None}
    review.decide(0, "keep", "", seen=state(rows[0]))
    assert {row["suggested_probability"] for row in rows_of(folder)} == {""}


def test_relabelling_to_the_given_class_keeps(folder):
    row = rows_of(folder)[0]
    assert Review(folder, "ann").decide(0, "relabel", row["given"], seen=state(row)).decision == (
        "keep"
    )


def test_undo_goes_back_step_by_step_over_a_restart(folder):
    before = rows_of(folder)
    review = Review(folder, "ann")
    first = review.decide(0, "drop", "", seen=state(before[0]))
    review.decide(0, "keep", "", seen=first.state)
    review.decide(3, "drop", "", seen=state(before[3]))
    again = Review(folder, "ben")
    assert again.undo() == [3]
    assert again.undo() == [0]
    assert state(rows_of(folder)[0]) == first.state
    assert again.undo() == [0]
    assert rows_of(folder) == before
    assert again.undo() == []


def test_the_file_is_read_again_when_it_changed_and_at_no_other_time(folder, monkeypatch):
    reads = []
    original = review_module.read_rows
    monkeypatch.setattr(review_module, "read_rows", lambda f: reads.append(f) or original(f))
    review = Review(folder, "ann")
    for number in (0, 2):
        review.decide(number, "drop", "", seen=state(rows_of(folder)[number]))
        assert [row.state for row in review.rows()] == [state(row) for row in rows_of(folder)]
    assert review.undo() == [2]
    assert len(reads) == 1
    Review(folder, "ben").decide(4, "drop", "", seen=state(rows_of(folder)[4]))
    assert review.rows()[4].by == "ben"
    assert len(reads) == 3  # what Ben began with, and what he left


def test_what_was_decided_elsewhere_is_not_written_over(folder):
    seen = state(rows_of(folder)[0])
    Review(folder, "ann").decide(0, "drop", "", seen=seen)
    with pytest.raises(Conflict) as caught:
        Review(folder, "ben").decide(0, "keep", "", seen=seen)
    assert caught.value.row.decision == "drop"
    assert rows_of(folder)[0]["by"] == "ann"


def test_an_edit_of_the_file_stays_and_is_not_undone(folder):
    review = Review(folder, "ann")
    review.decide(0, "drop", "", seen=state(rows_of(folder)[0]))
    text = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(text.replace("drop,ann", "keep,hand"))
    review.decide(2, "drop", "", seen=state(rows_of(folder)[2]))
    assert rows_of(folder)[0]["by"] == "hand"
    assert review.undo() == [2]
    with pytest.raises(Conflict):
        review.undo()


def test_a_crash_between_history_and_labels_loses_nothing(folder, monkeypatch):
    before = rows_of(folder)
    review = Review(folder, "ann")
    review.decide(0, "drop", "", seen=state(before[0]))
    with monkeypatch.context() as patch:
        patch.setattr(Review, "_write", lambda self, rows: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            review.decide(2, "drop", "", seen=state(before[2]))
    with (folder / HISTORY).open("a") as file:
        file.write('{"path": "half a li')
    again = Review(folder, "ann")
    assert state(rows_of(folder)[2]) == state(before[2])
    again.decide(4, "drop", "", seen=state(before[4]))
    assert [again.undo(), again.undo(), again.undo()] == [[4], [0], []]
    assert rows_of(folder) == before


def test_a_full_disk_is_said_and_nothing_changes(folder, monkeypatch):
    before = (folder / "labels.csv").read_bytes()
    review = Review(folder, "ann")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("smallset.clean.review.os.fsync", full)
    with pytest.raises(RunError, match="No space left"):
        review.decide(0, "drop", "", seen=state(rows_of(folder)[0]))
    assert (folder / "labels.csv").read_bytes() == before


def test_a_second_review_of_the_same_folder_is_kept_out(folder):
    hold = "import sys, time; from pathlib import Path; from smallset.clean.review import alone\n"
    hold += "with alone(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", hold, folder], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(RunError, match="being reviewed already"), alone(folder):
            pass
    finally:
        other.kill()
        other.communicate()
    (folder / ".writing-labels.csv-x").touch()
    with alone(folder):  # the lock died with its process
        assert not list(folder.glob(".writing-*"))
    assert not (folder / ".review").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.csv", "path,id,given\na,b,c\n", "no column 'suggested'"),
        ("labels.csv", ",".join(WRITTEN) + "\na,b,c,d,much,keep,x,,\n", "probability is a number"),
        ("labels.csv", ",".join(WRITTEN) + "\na,b,c,d,0.5,maybe,x,,\n", "decision is keep"),
        (
            "labels.csv",
            ",".join(WRITTEN) + "\na,b,c,d,1,keep,x,,y\n",
            "image 1: suggested_probability is",
        ),
    ],
)
def test_a_damaged_file_is_named(folder, name, content, message):
    (folder / name).write_text(content)
    with pytest.raises(DataError, match=message):
        Review(folder, "ann")


def test_decisions_need_a_name_and_a_cleaned_set(folder, tmp_path):
    with pytest.raises(DataError, match="need a name"):
        Review(folder, "smallset")
    with pytest.raises(DataError, match="is not a cleaned set"):
        Review(tmp_path, "ann")


# -- The server ------------------------------------------------------------------------------------

HERE = "http://127.0.0.1:8000"


@pytest.fixture
def client(folder):
    app = build_app(Review(folder, "ann"), Album(folder, None), key="k3y", cookie="c", lang="en")
    return TestClient(app, base_url=HERE, cookies={"c": "k3y"}, headers={"origin": HERE})


def test_the_page_comes_with_the_key_alone(client):
    client.cookies.clear()
    assert client.get("/").status_code == 403
    assert client.get("/?key=other").status_code == 403
    opened = client.get("/?key=k3y")
    assert opened.status_code == 200
    cookie = opened.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "default-src 'none'" in opened.headers["content-security-policy"]
    assert client.get("/state").status_code == 200  # the cookie is enough from now on


@pytest.mark.parametrize("path", ["/", "/state", "/image/0/small", "/style.css", "/neighbours/0"])
@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example:8000"},  # DNS rebinding: the name points here, the header tells
        {"host": "evil.example:8000", "origin": "http://evil.example:8000"},
        {"host": "localhost:9:9", "origin": "http://localhost:9:9"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "localhost:8000:9"},
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"cookie": "c=other"},
    ],
)
def test_other_hosts_and_origins_are_refused(client, path, headers):
    assert client.get(path, headers=headers).status_code == 403


def test_a_forwarded_port_is_the_page_too(client, folder):
    client.base_url = "http://localhost:9000"
    there = {"origin": "http://localhost:9000", "cookie": "c=k3y"}
    assert client.get("/?key=k3y", headers=there).status_code == 200
    wish = {"image": 0, "decision": "drop", "seen": state(rows_of(folder)[0])}
    assert client.post("/decide", json=wish, headers=there).status_code == 200
    assert client.post("/undo", json={}, headers={**there, "origin": HERE}).status_code == 403


@pytest.mark.parametrize(
    "path", ["/", "/state", "/style.css", "/review.js", "/image/0/big", "/image/99/big", "/none"]
)
def test_every_answer_says_that_nothing_else_may_use_it(client, path):
    for answer in (client.get(path), client.get(path, headers={"host": "evil.example"})):
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/decide", "/undo", "/accept"])
@pytest.mark.parametrize(
    "headers",
    [{"origin": "http://evil.example"}, {"host": "evil.example"}, {"cookie": "c=x"}, {}],
)
def test_forged_changes_are_refused(client, folder, path, headers):
    if not headers:
        del client.headers["origin"]
    before = (folder / "labels.csv").read_bytes()
    wish = {"image": 0, "decision": "drop", "seen": state(rows_of(folder)[0])}
    assert client.post(path, json=wish, headers=headers).status_code == 403
    assert (folder / "labels.csv").read_bytes() == before


def test_a_form_cannot_decide(client, folder):
    """What a forged form can send is no JSON."""
    wish = json.dumps({"image": 0, "decision": "drop", "seen": state(rows_of(folder)[0])})
    sent = client.post("/decide", content=wish, headers={"content-type": "text/plain"})
    assert sent.status_code == 422
    assert rows_of(folder)[0]["by"] == "smallset"


@pytest.mark.parametrize("path", ["/decide", "/undo", "/accept", "/state", "/nowhere"])
@pytest.mark.parametrize("size", [10_001, 1_000_000])
@pytest.mark.parametrize("says_length", [True, False])
def test_a_large_request_is_refused(client, folder, path, size, says_length):
    before, content = (folder / "labels.csv").read_bytes(), b" " * size
    answer = client.post(path, content=content if says_length else iter([content]))
    assert (answer.status_code, answer.text) == (413, "This request is too large.")
    assert (folder / "labels.csv").read_bytes() == before


def test_no_more_of_a_body_is_taken_than_is_allowed():
    """300 MB in chunks: what comes after the limit is not asked for."""
    taken, answers = [], []

    async def receive():
        taken.append(1000)
        return {"type": "http.request", "body": b" " * 1000, "more_body": len(taken) < 300_000}

    async def send(message):
        answers.append(message)

    async def never(scope, receive, send):
        raise AssertionError("the application was reached")

    headers = [(b"host", b"localhost"), (b"origin", b"http://localhost"), (b"cookie", b"c=k3y"),
               (b"transfer-encoding", b"chunked")]  # fmt: skip
    scope = {"type": "http", "method": "POST", "path": "/decide", "headers": headers,
             "query_string": b""}  # fmt: skip
    asyncio.run(PageGuard(never, "k3y", "c")(scope, receive, send))
    assert sum(taken) == 11_000
    assert answers[0]["status"] == 413


ODD = ["1e400", "-1e400", "NaN", "Infinity", "9" * 5000, "1e99999", '"0"', "null", "[]", "1.5",
       "[" * 9000, '{"a":' * 1500, '"\\ud800"', "tru", ""]  # fmt: skip


@pytest.mark.parametrize("field", ["image", "decision", "label", "seen", "all"])
def test_no_json_is_an_error_of_the_server(client, folder, field):
    before = (folder / "labels.csv").read_bytes()
    for value in ODD:
        wish = {"image": "0", "decision": '"relabel"', "label": '"dgo"', "seen": "{}"}
        inner = ", ".join(f'"{name}": {each}' for name, each in (wish | {field: value}).items())
        content = value if field == "all" else f"{{{inner}}}"
        kind = {"content-type": "application/json"}
        answer = client.post("/decide", content=content, headers=kind)
        assert 400 <= answer.status_code < 500, value
        assert "detail" in answer.json()
    assert (folder / "labels.csv").read_bytes() == before


@pytest.mark.parametrize(
    "path",
    ["/image/32/big", "/image/-1/big", "/image/0/huge", "/image/../../etc/passwd/big",
     "/image/%2e%2e%2fclean.json/big", "/docs", "/openapi.json", "/labels.csv"],
)  # fmt: skip
def test_images_of_the_set_are_served_and_nothing_else(client, path):
    assert client.get("/image/0/big").headers["content-type"] == "image/jpeg"
    assert client.get(path).status_code in (404, 422)


def test_an_image_that_is_gone_is_said(client, split_folders, monkeypatch):
    monkeypatch.setattr(Path, "read_bytes", lambda self: (_ for _ in ()).throw(OSError("gone")))
    gone = client.get("/image/0/big")
    assert gone.status_code == 404
    assert "cannot show train/" in gone.json()["detail"]


def test_decisions_come_back_as_they_stand(client, folder):
    seen = state(rows_of(folder)[0])
    wish = {"image": 0, "decision": "relabel", "label": "dog", "seen": seen}
    done = client.post("/decide", json=wish)
    stands = {"decision": "relabel", "suggested": "dog", "by": "ann"}
    assert done.json() == stands | {"likely": None}
    assert state(rows_of(folder)[0]) == stands
    late = client.post("/decide", json={**wish, "decision": "keep"})
    assert late.status_code == 409
    assert late.json() == done.json()
    assert client.post("/undo", json={}).json() == [{"image": 0, "state": seen | {"likely": 0.97}}]
    assert client.post("/undo", json={}).json() == []
    wrong = client.post("/decide", json={**wish, "label": "dgo"})
    assert wrong.status_code == 422
    assert "did you mean 'dog'" in wrong.json()["detail"]
    assert client.post("/decide", json={**wish, "image": 99}).status_code == 404


def test_neighbours_are_trusted_images_of_the_class_nearest_first(client, folder):
    rows = rows_of(folder)
    features = np.load(folder / "features.npy")
    near = client.get("/neighbours/0?label=dog").json()
    assert len(near) == 4
    assert all(rows[n]["given"] == "dog" and rows[n]["decision"] == "keep" for n in near)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    usable = [n for n, r in enumerate(rows) if r["given"] == "dog" and r["decision"] == "keep"]
    assert near == sorted(usable, key=lambda n: -(unit[n] @ unit[0]))[:4]


def test_data_that_moved_is_asked_for(folder, tmp_path, split_folders):
    about = json.loads((folder / "clean.json").read_text())
    (folder / "clean.json").write_text(json.dumps(about | {"data": str(tmp_path / "gone")}))
    with pytest.raises(DataError, match="--data PLACE"):
        Album(folder, None)
    assert Album(folder, str(split_folders)).classes == tuple(NAMES)
    text = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(text.replace("train/ant/0.png", "train/ant/none.png"))
    with pytest.raises(DataError, match=r"1 images of .*labels\.csv are not in"):
        Album(folder, str(split_folders))


# -- In the browser --------------------------------------------------------------------------------


@pytest.fixture
def serve():
    """Start `smallset review`; returns its process and address."""
    started = []

    def start(folder, *arguments):
        command = [sys.executable, "-m", "smallset", "review", folder, "--by", "ann",
                   "--no-browser", "--lang", "en", *arguments]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        return process, re.findall(r"http://\S+", process.stdout.readline())[0]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def tab(browser):
    """Open tabs; what the browser complains about fails the test, except what is expected."""
    context, complaints, expected = browser.new_context(), [], []

    def go(address):
        page = context.new_page()
        page.on("console", lambda m: complaints.append(m.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        page.wait_for_selector("body[data-shown]")
        return page

    yield go, expected
    context.close()
    assert [c for c in complaints if not any(e in c for e in expected)] == []


def shown(page):
    return int(page.get_attribute("body", "data-shown"))


def press(page, key):
    """Press a key, and wait until another image shows (the page's CSP lets no function wait)."""
    there = shown(page)
    page.keyboard.press(key)
    page.wait_for_selector(f"body:not([data-shown='{there}'])")
    return there


@pytest.mark.slow
def test_fifty_decisions_by_keyboard_with_undo_reload_crash_and_a_second_tab(
    split_folders, tmp_path, serve, tab
):
    splits = ("train", "val", "test", "extra")
    folder = make_folder(tmp_path / "clean", split_folders, splits, suspects=1)
    before = rows_of(folder)
    expected = [state(row) for row in before]
    words = {"k": "keep", "r": "relabel", "d": "drop"}

    def decide(page, key):
        n = press(page, key)
        expected[n] = {**expected[n], "decision": words[key], "by": "ann"}
        assert state(rows_of(folder)[n]) == expected[n]  # on disk before the next image shows
        return n

    process, address = serve(folder)
    open_tab, expected_complaints = tab
    page = open_tab(address)
    assert "key=" not in page.url
    done = [decide(page, "krd"[step % 3]) for step in range(23)]
    for n in reversed(done[20:]):  # undo three; they are shown again
        press(page, "u")
        assert shown(page) == n
        expected[n] = state(before[n])
        assert state(rows_of(folder)[n]) == expected[n]
    page.reload()
    page.wait_for_selector("body[data-shown='20']")
    assert page.inner_text("#count") == "20 of 72 decided"
    done = done[:20] + [decide(page, "d") for _ in range(10)]

    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    expected_complaints += ["ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET"]
    expected_complaints.append("ERR_CONTENT_LENGTH_MISMATCH")  # killed while it sent an image
    page.keyboard.press("k")
    page.wait_for_selector("#trouble:not([hidden])")
    assert "does not answer" in page.inner_text("#trouble")
    assert shown(page) == 30
    assert [state(row) for row in rows_of(folder)] == expected

    _, address = serve(folder)
    first, second = open_tab(address), open_tab(address)
    assert first.inner_text("#count") == "30 of 72 decided"
    for step in range(9):  # each tab decides on what the other has not seen
        decide(first, "krd"[step % 3])
    expected_complaints.append("409")
    assert shown(second) == 30
    second.keyboard.press("d")
    second.wait_for_selector("#said:has-text('Somebody else')")
    assert state(rows_of(folder)[30]) == expected[30]
    for _ in range(9):
        press(second, "ArrowRight")
    done = done + list(range(30, 39)) + [decide(second, "r") for _ in range(11)]
    assert len(done) == 50
    press(first, "u")  # the last decision, whichever tab it came from
    expected[done[-1]] = state(before[done[-1]])
    assert shown(first) == done[-1]

    after = rows_of(folder)
    assert [state(row) for row in after] == expected
    assert sum(row["by"] == "ann" for row in after) == 49
    kept = ("path", "id", "given", "probability")
    assert [[r[k] for k in kept] for r in after] == [[r[k] for k in kept] for r in before]


@pytest.mark.slow
def test_the_sure_ones_are_accepted_by_a_key_and_the_end_says_what_is_next(folder, serve, tab):
    path = folder / "labels.csv"
    path.write_text(path.read_text().replace(",0.01,", ",0.0001,"))
    process, address = serve(folder)
    page = tab[0](address)
    sure = sum(row["decision"] == "relabel" for row in rows_of(folder))
    assert f"accept all suggestions ({sure}) where" in page.inner_text("#accept")
    page.keyboard.press("a")
    page.wait_for_selector("#done:not([hidden])")
    assert page.inner_text("#next-step") == f"{sure} accepted; U takes all of them back."
    assert faults(page) == []
    assert page.inner_text("#next-command") == f"smallset train {folder} --out RUN"
    assert sum(row["by"] == "ann" for row in rows_of(folder)) == sure
    page.keyboard.press("u")
    page.wait_for_selector("#accept:not([hidden])")
    assert sum(row["by"] == "ann" for row in rows_of(folder)) == 0
    page.fill("#other", "do")  # the first letters of one class
    page.press("#other", "Enter")
    page.wait_for_selector("body:not([data-shown='0'])")
    assert sum(row["by"] == "ann" for row in rows_of(folder)) == 1
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[0]
    assert f"smallset train {folder} --out RUN" in told


@pytest.mark.slow
def test_a_server_that_dies_in_the_middle_of_an_answer_is_told_of(folder, serve, tab):
    _, address = serve(folder)
    page = tab[0](address)
    page.evaluate("""() => {
      const torn = () => new ReadableStream({ start: c => c.error(new TypeError("torn")) });
      window.fetch = async () => new Response(torn());
    }""")
    page.keyboard.press("k")
    page.wait_for_selector("#trouble:not([hidden])")
    assert "does not answer" in page.inner_text("#trouble")


@pytest.mark.slow
def test_another_class_filters_and_language(folder, serve, tab):
    rows = rows_of(folder)
    rows[0]["why"] = "nowhere"
    write_rows(folder, rows)
    _, address = serve(folder)
    page = tab[0](address)
    first = shown(page)
    assert page.inner_text("#doubt") == "In doubt: far from every class"
    assumed = "if mistakes are spread evenly"  # labels alone cannot tell
    assert page.inner_text("#given p") == f"given; right with probability 1.0%, {assumed}"
    assert page.inner_text("#suggested p") == f"suggested; right with probability 97.0%, {assumed}"
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(f"body:not([data-shown='{first}'])")
    assert page.inner_text("#given p") == "given; right with probability 1.0%"
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector(f"body[data-shown='{first}']")
    page.keyboard.press("c")
    page.keyboard.type("no such class")
    page.keyboard.press("Enter")
    assert page.inner_text("#said") == "There is no class no such class."
    page.fill("#other", "dog")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"body:not([data-shown='{first}'])")
    row = rows_of(folder)[first]
    assert (row["decision"], row["suggested"]) == ("relabel", "dog")
    page.select_option("#class", "bee")
    page.wait_for_selector("#count:has-text('0 of 7')")
    row = rows_of(folder)[shown(page)]
    assert "bee" in (row["given"], row["suggested"])
    page.wait_for_selector("#given .near img")
    assert page.evaluate("[...document.images].every(i => !i.complete || i.naturalWidth > 0)")
    page.click("#language")
    assert page.inner_text("#keep") == "K 保留原标签"
    page.set_viewport_size({"width": 390, "height": 800})
    wide = "document.documentElement.scrollWidth"
    assert page.evaluate(wide) <= 390
    # Most of a small screen is for the pictures; what decides is in two lines, each with its words.
    bar = page.locator("#acts").bounding_box()
    assert bar is not None
    assert bar["height"] < 120
    page.wait_for_selector("#other[placeholder='其他类别']")
    cut = "all => all.filter(each => each.scrollWidth > each.clientWidth).length"
    assert page.locator("#acts button").evaluate_all(cut) == 0
    assert faults(page) == []


@pytest.mark.slow
def test_ctrl_c_says_what_was_decided(folder, serve):
    process, _ = serve(folder)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=20)[0]
    assert process.returncode == 0
    assert "reviewed: 0 images (keep 0, relabel 0, drop 0); 16 suspects are left" in said


def test_a_taken_port_is_said(folder, serve, capsys):
    _, address = serve(folder)
    [port] = re.findall(r":(\d+)/", address)
    other = folder.with_name("other")
    shutil.copytree(folder, other)
    command = [sys.executable, "-m", "smallset", "review", other, "--by", "a", "--port", port]
    ended = subprocess.run([*command, "--no-browser"], capture_output=True, text=True)
    assert ended.returncode == 2
    assert f"cannot listen on port {port}" in ended.stderr
