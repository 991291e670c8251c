"""The server answers what `predict` says, whoever asks, however many and however badly."""

import asyncio
import csv
import io
import json
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.client import HTTPConnection

import numpy as np
import pytest
import uvicorn
from accessible import faults
from PIL import Image
from starlette.requests import Request
from starlette.testclient import TestClient
from typer.testing import CliRunner

from smallset import api
from smallset.cli import app as command_line
from smallset.errors import ConfigError, need
from smallset.record.record import Record
from smallset.use import connections
from smallset.use.batcher import TOGETHER
from smallset.use.connections import Connection, Room, listen
from smallset.use.described import describe
from smallset.use.limits import Limits
from smallset.use.multipart import Malformed, TooMany, boundary_of, read_parts
from smallset.use.predictor import Predictor
from smallset.use.serve import build_app, build_server, check_token, is_here

HERE = "http://127.0.0.1:8000"
TOKEN = "a-token-of-some-length"
SMALL = Limits(max_mb=0.4, max_image_mb=0.1, max_images=5, max_waiting=40)


@pytest.fixture(scope="module")
def predictor(run):
    return Predictor(Record(run), apart=True)


def build(run, predictor, limits=None, **settings):
    limits = limits or Limits()
    about = describe(Record(run), predictor, limits, top=None, sets=None, reject=None)
    return build_app(predictor, about, limits, **settings)


@pytest.fixture
def client(run, predictor):
    return TestClient(build(run, predictor), base_url=HERE)


@pytest.fixture(scope="module")
def serve():
    """Serve an application from a thread; returns its port."""
    started = []

    def start(app):
        listener = listen("127.0.0.1", 0)
        server = build_server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        started.append((server, thread, listener))
        return listener.getsockname()[1]

    yield start
    for server, thread, listener in started:
        server.should_exit = server.force_exit = True
        thread.join()
        listener.close()


def png(colour, size=40):
    made = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(made, "PNG")
    return made.getvalue()


RED = png((200, 40, 40))


def form(*contents, field="images", boundary=b"b0undary"):
    """A body as browsers send it, and its content type."""
    head = b'--%s\r\nContent-Disposition: form-data; name="%s"; filename="%d.png"\r\n\r\n%s\r\n'
    parts = [head % (boundary, field.encode(), n, each) for n, each in enumerate(contents)]
    body = b"".join([*parts, b"--", boundary, b"--\r\n"])
    return body, f"multipart/form-data; boundary={boundary.decode()}"


def post(port, body, kind="image/png", **headers):
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", "/predict", body, {"Content-Type": kind, **headers})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, json.loads(content)


# -- The answers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [{}, {"top": 2, "sets": 0.7, "reject": 0.2}])
def test_an_answer_is_the_row_of_predict_for_the_same_bytes(run, split_folders, tmp_path, asked):
    files = sorted((split_folders / "test").rglob("*.png"))[:6]
    files[2:4] = [tmp_path / "a.jpg", tmp_path / "odd.txt"]
    Image.open(files[0]).resize((300, 211)).save(files[2])
    files[3].write_text("no picture")
    api.predict_files(run, list(map(str, files)), out=tmp_path / "p.jsonl", **asked)
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]

    options = {"top": None, "sets": None, "reject": None, **asked}
    predictor = Predictor(Record(run), sets=options["sets"], reject=options["reject"])
    about = describe(Record(run), predictor, Limits(), **options)
    client = TestClient(build_app(predictor, about, Limits()), base_url=HERE)
    sent = [("images", (file.name, file.read_bytes(), "image/png")) for file in files]
    answer = client.post("/predict", files=sent)
    assert answer.status_code == 200
    for file, row, said in zip(files, rows, answer.json()["images"], strict=True):
        assert list(said) == list(row)
        assert said["path"] == file.name
        for name in set(row) - {"path", "probabilities", "probability"}:
            assert said[name] == row[name], name
        probs, wanted = said["probabilities"], row["probabilities"]
        assert probs == (wanted and pytest.approx(wanted, abs=1e-6))
        if wanted:
            assert list(probs) == list(wanted)
        alone = client.post(
            "/predict", content=file.read_bytes(), headers={"content-type": "image/x"}
        )
        assert alone.status_code == (422 if row["error"] else 200)
        [single] = alone.json()["images"]
        assert single == {**said, "path": "", **{k: single[k] for k in ("probabilities",
                          "probability")}}  # fmt: skip
        assert single["probabilities"] == (wanted and pytest.approx(wanted, abs=1e-6))


def test_pictures_of_many_clients_get_their_own_answers(run, predictor, serve, monkeypatch):
    sizes = []
    original = predictor.answer
    monkeypatch.setattr(predictor, "answer", lambda p: sizes.append(len(p)) or original(p))
    port = serve(build(run, predictor))
    rng = np.random.default_rng(0)
    contents = [png(tuple(map(int, rng.integers(0, 256, 3)))) for _ in range(260)]
    alone = [predictor.decode(each) for each in contents]
    wanted = [predictor.block([each], 1).probs[0] for each in alone]
    sizes.clear()

    def ask(client):
        """Every other request has two pictures."""
        found = {}
        for first in range(client, 130, 16):
            pair = [first, first + 130]
            if client % 2:
                status, said = post(port, *form(*(contents[n] for n in pair)))
                found |= {n: (status, one) for n, one in zip(pair, said["images"], strict=True)}
            else:
                for n in pair:
                    status, said = post(port, contents[n])
                    found[n] = (status, *said["images"])
        return found

    with ThreadPoolExecutor(16) as pool:
        found = {n: said for part in pool.map(ask, range(16)) for n, said in part.items()}
    assert sorted(found) == list(range(260))
    for n, (status, said) in found.items():
        assert status == 200
        assert said["id"] == alone[n].id
        probs = np.array(list(said["probabilities"].values()))
        np.testing.assert_allclose(probs, wanted[n], atol=1e-6)
    assert sum(sizes) == 260
    assert max(sizes) > 1  # some waited for each other


def test_what_waits_while_the_network_works_is_answered_by_one_pass(
    run, predictor, serve, monkeypatch
):
    free, sizes, original = threading.Event(), [], predictor.answer

    def held(pixels):
        sizes.append(len(pixels))
        free.wait(10)
        return original(pixels)

    monkeypatch.setattr(predictor, "answer", held)
    limits = Limits(max_images=5, max_waiting=9)
    port = serve(build(run, predictor, limits))
    with ThreadPoolExecutor(10) as pool:
        first = pool.submit(post, port, RED)
        while not sizes:
            time.sleep(0.01)
        rest = [pool.submit(post, port, png((n, n, n))) for n in range(8)]
        time.sleep(0.3)
        connection = HTTPConnection("127.0.0.1", port)
        connection.request("POST", "/predict", RED, {"Content-Type": "image/png"})
        full = connection.getresponse()
        assert full.status == 503
        assert 1 <= int(full.headers["Retry-After"]) <= 60
        connection.close()
        free.set()
        assert [each.result()[0] for each in (first, *rest)] == [200] * 9
    assert sizes == [1, 8]
    assert post(port, RED)[0] == 200


def test_the_last_bits_of_an_answer_do_not_depend_on_those_beside_it(predictor):
    rng = np.random.default_rng(0)
    side = predictor.preprocessing.size
    pixels = rng.integers(0, 256, (TOGETHER, side, side, 3), dtype=np.uint8)
    probs, vectors = predictor.answer(pixels)
    for row in range(TOGETHER):
        for first in range(row + 1):
            alone = predictor.answer(pixels[first : row + 1])
            # Bit for bit where this was written; another processor may have other kernels.
            np.testing.assert_allclose(alone[0][-1], probs[row], atol=1e-7)
            np.testing.assert_allclose(alone[1][-1], vectors[row], rtol=1e-6, atol=1e-6)


def test_a_network_that_fails_is_said_and_the_next_picture_is_answered(client, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "answer", lambda *_: (_ for _ in ()).throw(RuntimeError("memory")))
        failed = client.post("/predict", content=RED, headers={"content-type": "image/png"})
    assert failed.status_code == 500
    assert failed.json() == {"detail": "the network failed; the log says why"}
    again = client.post("/predict", content=RED, headers={"content-type": "image/png"})
    assert again.status_code == 200


def test_the_model_is_described(client, run):
    record = Record(run)
    said = client.get("/model").json()
    assert said["classes"] == record.model["classes"]
    assert said["preprocessing"] == record.model["preprocessing"]
    assert said["temperature"]["value"] == record.model["temperature"]
    accuracy = said["accuracy"]
    assert accuracy["value"] == pytest.approx(record.result["test_accuracy"])
    assert accuracy["low"] <= accuracy["value"] <= accuracy["high"]
    assert (accuracy["images"], accuracy["measured_on"]) == (20, "test")
    assert said["fingerprint"]["data"] == record.config["data"]["fingerprint"]
    assert said["versions"]["run"] == record.config["versions"]
    assert client.get("/health").json() == {"status": "ok"}


def test_the_document_describes_bodies_and_the_token(run, predictor):
    app = build(run, predictor, token=TOKEN)
    client = TestClient(app, base_url=HERE, headers={"Authorization": f"Bearer {TOKEN}"})
    said = client.get("/openapi.json").json()
    assert set(said["paths"]) == {"/predict", "/model", "/health"}
    predict = said["paths"]["/predict"]["post"]
    assert set(predict["requestBody"]["content"]) == {
        "multipart/form-data", "image/*", "application/octet-stream",
    }  # fmt: skip
    assert set(predict["responses"]) >= {"200", "400", "401", "413", "415", "422", "503"}
    assert predict["security"] == [{"HTTPBearer": []}]
    assert client.get("/docs").status_code == 404  # FastAPI's own comes from another server


# -- What is refused -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def port(run, serve):
    limited = Predictor(Record(run))
    limited.preprocessing = replace(limited.preprocessing, max_megapixels=1)
    return serve(build(run, limited, SMALL))


def bomb(side):
    """A PNG of side x side pixels in a few kilobytes."""

    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    pixels = zlib.compress(b"\0" * 1_000_000)
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    )


TWO, KIND = form(RED, RED)
PARTS = b'--b0undary\r\nContent-Disposition: form-data; name="images"\r\n\r\n\r\n' * 5_000
HOSTILE = {
    "decompression bomb": (bomb(9_000), "image/png", 422),
    "a larger one": (bomb(60_000), "image/png", 422),
    "no picture": (b"<svg/>", "image/svg+xml", 422),
    "an empty body": (b"", "image/png", 422),
    "half a picture": (RED[:60], "image/png", 422),
    "too many bytes": (b"x" * 110_000, "image/png", 413),
    "too many bytes of a form": (*form(*[b"x" * 90_000] * 5), 413),
    "a picture of too many bytes": (*form(b"x" * 110_000), 422),
    "too many pictures": (*form(*[RED] * 6), 400),
    "thousands of tiny parts": (PARTS, KIND, 400),
    "json": (b"{}", "application/json", 415),
    "what curl says by default": (RED, "application/x-www-form-urlencoded", 415),
    "a script": (b"alert(1)", "text/html", 415),
    "no boundary": (TWO, "multipart/form-data", 400),
    "another boundary": (TWO, "multipart/form-data; boundary=other", 400),
    "a form cut short": (TWO[:-20], KIND, 400),
    "no form": (b"nothing", KIND, 400),
    "no picture in it": (b"--b0undary--\r\n", KIND, 400),
    "another field": (*form(RED, field="file"), 400),
    "a part without headers": (b"--b0undary\r\n\r\nx\r\n--b0undary--", KIND, 400),
    "a part with long headers": (*form(RED, field="x" * 9_000), 400),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_uploads_are_refused_and_the_server_lives(port, name):
    body, kind, status = HOSTILE[name]
    answered, said = post(port, body, kind)
    assert answered == status, said
    assert said.get("detail") or all(row["error"] for row in said["images"])
    assert post(port, RED)[0] == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /predict HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n" % (b"x" * 400_000), 400),
        (b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", 400),
        (b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n"
         b"Content-Type: image/png\r\n\r\nx", 413),
        (b"POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
         b"Content-Type: image/png\r\n\r\nzz\r\n", 400),
        (b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
         b"Content-Encoding: gzip\r\nContent-Length: 0\r\n\r\n", 415),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
    ],
)  # fmt: skip
def test_malformed_requests_are_refused(port, sent, status):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(sent)
        assert connection.recv(100).split()[1] == str(status).encode()
    assert post(port, RED)[0] == 200


def test_a_client_that_goes_in_the_middle_of_a_body_leaves_nothing(port):
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999"
                               b"\r\nContent-Type: image/png\r\n\r\nabc")  # fmt: skip
    assert post(port, RED)[0] == 200


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "C:\\a.png", "a\0b", "图.png", 'q"q.png', "<b>.png"]
)
def test_a_name_comes_back_as_it_came_and_is_no_path(client, name):
    said = client.post("/predict", files={"images": (name, RED)}).json()["images"][0]
    assert said["path"].replace("%22", '"').replace("%00", "\0") == name
    assert said["error"] is None


def test_bodies_share_the_room_for_them():
    room = Room(10)

    async def receive():
        return {"type": "http.request", "body": b"123456", "more_body": False}

    async def two(request):
        async with room.body(request, 6) as body:
            assert (body, room.taken) == (b"123456", 6)
            with pytest.raises(connections.Busy):
                async with room.body(request, 6):
                    pass
            assert room.taken == 6
        with pytest.raises(connections.TooLarge):
            async with room.body(request, 5):
                pass
        return room.taken

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    assert asyncio.run(two(request)) == 0


@pytest.mark.parametrize("path", ["/", "/model", "/predict", "/openapi.json", "/serve.js"])
@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example:8000"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "192.168.1.5:8000"},
        {"host": "localhost:8000:9"},
        {"host": "[::1"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_other_hosts_and_pages_are_refused(client, path, headers):
    if path == "/" and "sec-fetch-site" in headers:
        return  # a link on another page may lead here
    asked = client.request("POST" if path == "/predict" else "GET", path, headers=headers)
    assert asked.status_code == 403
    assert asked.json()["detail"]
    assert "default-src 'none'" in asked.headers["content-security-policy"]


def test_with_a_token_nothing_of_the_model_is_told_without_it(run, predictor):
    settings = {"hosts": ("localhost", "proxy.example"), "any_address": True, "token": TOKEN}
    client = TestClient(build(run, predictor, **settings), base_url="http://10.0.0.7:8000")
    for path in ("/", "/health", "/style.css", "/serve.js"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "dog" not in answer.text
    wrong = (f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer", "Bearer é", "")
    asked = (("GET", "/model"), ("POST", "/predict"), ("GET", "/openapi.json"),
             ("GET", f"/none?token={TOKEN}"))  # fmt: skip
    for given in wrong:
        for method, path in asked:
            headers = [(b"authorization", given.encode("latin-1")), (b"cookie", TOKEN.encode())]
            answer = client.request(method, path, headers=headers)
            assert answer.status_code == 401, (given, path)
            assert answer.headers["www-authenticate"] == "Bearer"
    held = {"authorization": f"Bearer {TOKEN}"}
    assert client.get("/model", headers=held).status_code == 200
    assert client.get("/model", headers={**held, "host": "proxy.example"}).status_code == 200
    assert client.get("/model", headers={**held, "host": "evil.example"}).status_code == 403
    there = {**held, "host": "proxy.example", "origin": "https://proxy.example"}
    assert client.get("/model", headers=there).status_code == 200


# -- Slow clients ----------------------------------------------------------------------------------


def test_slow_clients_do_not_keep_others_waiting(run, predictor, serve, monkeypatch):
    monkeypatch.setattr(Connection, "header_seconds", 1.5)
    monkeypatch.setattr(connections, "BODY_SECONDS", 1.5)
    port = serve(build(run, predictor))
    begun = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    silent, headers, bodies = (
        [socket.create_connection(("127.0.0.1", port)) for _ in range(30)] for _ in range(3)
    )
    for each in headers:
        each.sendall(begun)
    for each in bodies:
        each.sendall(begun + b"Content-Length: 50000\r\n\r\nx")
    began = time.perf_counter()
    assert [post(port, RED)[0] for _ in range(5)] == [200] * 5
    assert time.perf_counter() - began < 1.5
    for each in (*headers, *bodies):
        each.sendall(b"x")  # a byte now and then does not help
    for each in (*silent, *headers):
        each.settimeout(5)
        assert each.recv(100) == b""
    for each in bodies:
        each.settimeout(5)
        assert each.recv(100).startswith(b"HTTP/1.1 408")
    for each in (*silent, *headers, *bodies):
        each.close()
    assert post(port, RED)[0] == 200


def test_few_open_files_mean_few_connections(monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 4096))
    assert connections.most_connections() == 156


def test_of_too_many_connections_the_oldest_idle_one_goes(run, predictor, serve, monkeypatch):
    monkeypatch.setattr(Connection, "most", 6)
    port = serve(build(run, predictor))
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(10)]
    assert post(port, RED)[0] == 200
    for each in idle[:4]:
        each.settimeout(5)
        assert each.recv(1) == b""
    idle[-1].sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert idle[-1].recv(20).startswith(b"HTTP/1.1 200")
    for each in idle:
        each.close()


# -- Forms -----------------------------------------------------------------------------------------


def test_parts_come_out_as_they_went_in():
    rng = np.random.default_rng(0)
    for count in (1, 2, 5):
        contents = [rng.bytes(int(rng.integers(0, 300))) for _ in range(count)]
        contents[0] += b"\r\n--b0undar\r\n\n--b0undary\r\n-"
        body, kind = form(*contents)
        parts = read_parts(b"preamble\r\n" + body + b"epilogue", boundary_of(kind), most=count)
        assert [part.content for part in parts] == contents
        assert [part.filename for part in parts] == [f"{n}.png" for n in range(count)]
        with pytest.raises(TooMany):
            read_parts(body, boundary_of(kind), most=count - 1)
        for end in range(len(body) - 4):  # cut anywhere before its end
            with pytest.raises((Malformed, TooMany)):
                read_parts(body[:end], boundary_of(kind), most=count)


@pytest.mark.parametrize(
    ("disposition", "expected"),
    [
        (b'name="images"; filename="a b;c.png"', "a b;c.png"),
        (b"name=images; filename=a.png", "a.png"),
        (b'filename="a.png"; name="images"', "a.png"),
        (b'name="images"; filename="say \\"hi\\".png"', 'say "hi".png'),
        (b"name=\"images\"; filename*=UTF-8''na%C3%AFve.png", "naïve.png"),
        ('name="images"; filename="naïve.png"'.encode(), "naïve.png"),
        (b'name="images"; filename="\xff.png"', "\\xff.png"),
        (b'name="images"', ""),
    ],
)
def test_names_are_read_as_clients_write_them(disposition, expected):
    body = b"--x\r\ncontent-disposition: form-data; " + disposition + b"\r\n\r\nc\r\n--x--"
    [part] = read_parts(body, boundary_of('multipart/form-data; charset=x; boundary="x"'), most=1)
    assert part == ("images", expected, b"c")


# -- The command -----------------------------------------------------------------------------------


def test_other_machines_need_a_token_that_cannot_be_guessed(run, monkeypatch):
    monkeypatch.delenv("SMALLSET_TOKEN", raising=False)
    assert all(map(is_here, ("127.0.0.1", "127.0.0.2", "::1", "localhost")))
    assert not any(map(is_here, ("0.0.0.0", "::", "192.168.1.5", "example.com")))
    check_token("0.0.0.0", TOKEN)
    with pytest.raises(ConfigError, match=r"needs a token in SMALLSET_TOKEN .* secrets"):
        api.serve(run, host="0.0.0.0")
    monkeypatch.setenv("SMALLSET_TOKEN", "short")
    with pytest.raises(ConfigError, match="16 characters"):
        api.serve(run)


def test_the_command_says_where_it_serves(run, monkeypatch):
    monkeypatch.delenv("SMALLSET_TOKEN", raising=False)
    served = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: served.append(self.config.app))
    words = ["serve", str(run), "--port", "0", "--max-megapixels", "0.001", "--top", "2"]
    said = CliRunner().invoke(command_line, words)
    assert said.exit_code == 0
    assert "serve:    http://127.0.0.1:" in said.output
    assert "fitted on 12 val images" in said.output
    client = TestClient(served[0], base_url=HERE)
    large = client.post("/predict", files={"images": ("a.png", RED)})
    assert large.status_code == 422
    assert "the limit is 0.001" in large.json()["images"][0]["error"]
    tiny = client.post("/predict", files={"images": ("a.png", png((1, 2, 3), size=20))})
    assert len(tiny.json()["images"][0]["probabilities"]) == 2
    with listen("127.0.0.1", 0) as taken:
        words[3] = str(taken.getsockname()[1])
        failed = CliRunner().invoke(command_line, words)
    assert f"cannot listen on port {words[3]}" in str(failed.exception)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_mb": 0.0}, "--max-mb must be above 0, got 0"),
        ({"max_megapixels": -1.0}, "--max-megapixels must be above 0"),
        ({"max_images": 300}, "--max-waiting 256 leaves no room"),
    ],
)
def test_limits_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Limits(**settings)


def test_a_missing_extra_is_named():
    with pytest.raises(ConfigError, match=r"pip install 'smallset\[web\]'"):
        need("smallset serve", "web", "json", "no_such_package")


# -- In the browser --------------------------------------------------------------------------------


def table(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))


@pytest.fixture
def tab(browser):
    """Open the page; what the browser complains about fails the test, except what is expected."""
    context, complaints, expected = browser.new_context(accept_downloads=True), [], []

    def go(port):
        page = context.new_page()
        page.on("console", lambda m: complaints.append(m.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda r: r.url.startswith((f"http://127.0.0.1:{port}/", "data:",
                "blob:")) or complaints.append(r.url))  # fmt: skip
        page.goto(f"http://127.0.0.1:{port}/")
        return page

    yield go, expected
    context.close()
    assert [c for c in complaints if not any(e in c for e in expected)] == []


def test_the_page_answers_what_predict_says_and_its_table_is_that_of_predict(
    run, split_folders, tmp_path, serve, tab
):
    files = [str(path) for path in sorted((split_folders / "test").rglob("*.png"))[:7]]
    (tmp_path / 'a "b", c.jpg').write_text("no picture")
    files.append(str(tmp_path / 'a "b", c.jpg'))
    out = tmp_path / "p.csv"
    api.predict_files(run, files, out=out, sets=0.7, reject=0.2)
    wanted = table(out)

    predictor = Predictor(Record(run), sets=0.7, reject=0.2)
    about = describe(Record(run), predictor, Limits(), top=None, sets=0.7, reject=0.2)
    open_tab, expected = tab
    expected.append("422")
    page = open_tab(serve(build_app(predictor, about, Limits())))
    page.wait_for_selector("html[data-ready]")
    page.set_input_files("#files", files)
    page.wait_for_selector(f"html[data-done='{len(files)}']")
    with page.expect_download() as download:
        page.click("#csv")
    download.value.save_as(tmp_path / "page.csv")
    found = table(tmp_path / "page.csv")
    assert list(found[0]) == list(wanted[0])
    for file, row, said in zip(files, wanted, found, strict=True):
        assert said["path"] == file.rpartition("/")[2]
        for name in list(row)[1:]:
            if name.startswith("p") and name != "predicted" and row[name]:
                assert float(said[name]) == pytest.approx(float(row[name]), abs=1e-6)
            else:
                assert said[name] == row[name], name
    heads = page.locator(".answer h3").all_inner_texts()
    assert heads == [row["predicted"] for row in wanted if row["predicted"]]
    assert page.locator(".answer .badge").count() == sum(bool(row["unknown"]) for row in wanted)
    assert "8 of 8 answered" in page.inner_text("#count")
    assert page.locator("#lines tr").count() == 8
    assert "POST /predict" in page.inner_text("#operations")
    page.click("#language")
    assert "已回答 8 / 8" in page.inner_text("#count")
    assert "识别一张或多张图片" in page.inner_text("#operations")
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert faults(page) == []
    page.click("#clear")
    assert page.locator(".answer").count() == 0


def test_the_page_asks_for_the_token_and_takes_what_is_dropped(run, predictor, serve, tab):
    open_tab, expected = tab
    expected.append("401")
    page = open_tab(serve(build(run, predictor, token=TOKEN)))
    assert faults(page) == []
    for given in ("not the token", TOKEN):
        page.fill("#token", given)
        page.press("#token", "Enter")
        page.wait_for_selector("html[data-ready]" if given == TOKEN else "#wrong:not(:empty)")
    assert page.is_hidden("#locked")
    page.evaluate(
        """(bytes) => {
          const files = new DataTransfer();
          files.items.add(new File([new Uint8Array(bytes)], "red.png", { type: "image/png" }));
          document.body.dispatchEvent(
            new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true }));
        }""",
        list(RED),
    )
    page.wait_for_selector("html[data-done='1']")
    assert page.inner_text(".answer .name") == "red.png"
    wanted = predictor.block([predictor.decode(RED)], 1).probs[0]
    assert page.inner_text(".answer h3") == predictor.classes[wanted.argmax()]
