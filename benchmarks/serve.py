"""What `smallset serve` takes for an answer, and whether it loses or mixes up any.

    python benchmarks/serve.py RUN IMAGES [--requests 1000] [--clients 16] [--slow 300]

RUN is a record, IMAGES a folder. A server is started as a process of its own, and these are timed:

- alone:   this process asks a `Predictor` of its own, one picture after the other, file to answer
- one:     one client asks the server, one picture after the other
- many:    the clients ask it at once, each its share of the requests, one picture each
- slow:    the same while as many connections as asked for send a byte a second: a third of them
           headers, a third a body, a third nothing

Every answer is compared with that of the `Predictor` for the same bytes: the id of the pixels, and
the largest difference of a probability.
"""

import argparse
import json
import os
import platform
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch

from smallset.data.read import image_files
from smallset.memory import keep_memory
from smallset.record.record import Record
from smallset.use.predictor import Predictor

BEGUN = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"


def alone(network, contents):
    """The answers of a predictor, and the seconds that each took."""
    answers, seconds = [], []
    for content in contents:
        began = time.perf_counter()
        decoded = network.decode(content)
        block = network.block([decoded], 1)
        seconds.append(time.perf_counter() - began)
        answers.append((decoded.id, block.probs[0]))
    return answers, seconds


def ask(port, numbers, contents):
    """One client: its answers by request, and the seconds that each took."""
    connection, found = HTTPConnection("127.0.0.1", port, timeout=120), {}
    for number in numbers:
        began = time.perf_counter()
        headers = {"Content-Type": "image/jpeg"}
        connection.request("POST", "/predict", contents[number % len(contents)], headers)
        answer = connection.getresponse()
        said = json.loads(answer.read())
        assert answer.status == 200, said
        found[number] = (said["images"][0], time.perf_counter() - began)
    connection.close()
    return found


def ask_all(port, requests, clients, contents):
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        shares = [range(client, requests, clients) for client in range(clients)]
        parts = list(pool.map(lambda share: ask(port, share, contents), shares))
    seconds = time.perf_counter() - began
    return {number: said for part in parts for number, said in part.items()}, seconds


def check(found, requests, answers):
    """Nothing is lost or mixed up; returns the largest difference of a probability."""
    assert sorted(found) == list(range(requests))
    differences = []
    for number, (said, _) in found.items():
        name, probs = answers[number % len(answers)]
        assert said["id"] == name, number
        differences.append(np.abs(np.array(list(said["probabilities"].values())) - probs).max())
    return max(differences)


def hold(port, count, stop, told):
    """Connections that are as slow as they can be, opened again when the server closes them."""
    held = {}
    while not stop.wait(1):
        for number in range(count):
            each = held.get(number)
            try:
                if each is None:
                    each = held[number] = socket.create_connection(("127.0.0.1", port), timeout=5)
                    each.setblocking(False)
                    long = BEGUN + b"Content-Length: 900000\r\n\r\n"
                    each.send((b"", BEGUN, long)[number % 3])
                elif number % 3:
                    each.send(b"x")
                if each.recv(1000) or True:  # an answer, such as 408, or the end
                    raise ConnectionError
            except BlockingIOError:
                pass  # nothing came, as should be: it is still open
            except OSError:
                if each is not None:
                    each.close()
                held.pop(number, None)
                told["closed"] += 1
        told["open"] = max(told["open"], len(held))
    for each in held.values():
        each.close()


def report(name, seconds, count, took):
    middle, worst = 1e3 * np.percentile(seconds, [50, 99])
    print(f"{name:<6} p50 {middle:6.1f} ms, p99 {worst:6.1f} ms, {count / took:6.1f} a second")


def main():
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--slow", type=int, default=300)
    options = parser.parse_args()
    keep_memory()
    paths = image_files(options.images)[0]
    contents = [path.read_bytes() for path in islice(cycle(paths), options.requests)]
    network = Predictor(Record(options.run), device="cpu")
    print(f"{platform.processor()} x {os.cpu_count()}, {torch.get_num_threads()} torch threads, "
          f"torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")  # fmt: skip
    alone(network, contents[:20])
    answers, seconds = alone(network, contents)
    report("alone", seconds, len(contents), sum(seconds))

    words = ["-m", "smallset", "serve", str(options.run), "--port", "0", "--device", "cpu"]
    server = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(re.findall(r":(\d+)/", server.stdout.readline())[0])
        ask_all(port, 64, 16, contents)
        few = options.requests // 5
        for name, requests, clients in (("one", few, 1), ("many", options.requests,
                                                          options.clients)):  # fmt: skip
            found, took = ask_all(port, requests, clients, contents)
            difference = check(found, requests, answers)
            report(name, [each for _, each in found.values()], requests, took)
            print(f"       none lost or mixed up; largest difference {difference:.1e}")
        stop, told = threading.Event(), {"open": 0, "closed": 0}
        slow = threading.Thread(target=hold, args=(port, options.slow, stop, told))
        slow.start()
        time.sleep(3)
        found, took = ask_all(port, options.requests, options.clients, contents)
        stop.set()
        slow.join()
        difference = check(found, options.requests, answers)
        report("slow", [each for _, each in found.values()], options.requests, took)
        print(f"       none lost or mixed up; largest difference {difference:.1e}; "
              f"{told['open']} slow connections open at once, {told['closed']} closed")  # fmt: skip
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
