"""`huecry serve` as a process: what it answers, what it refuses, how it ends; and the mistakes that it tells."""

from __future__ import annotations

import re
import shutil
import signal
import socket
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from served import LOOPBACK_ONLY, serving

import huecry
from huecry import api
from huecry.errors import UserError
from huecry.retrieval.serve import serve


@pytest.fixture(scope="module")
def place(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the drawn set; tests only read it."""
    place = tmp_path_factory.mktemp("serve") / "photos.safetensors"
    api.index("tiny", str(photo_folder), "data.workers=0", "train.cpu_threads=1", out=str(place))
    return place


def status(url: str, data: bytes | None = None, **headers: str) -> int:
    try:
        with LOOPBACK_ONLY.open(urllib.request.Request(url, data, headers)) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
def test_the_page_answers_as_the_index_does(served, place) -> None:
    """Whoever asks at the same time gets their own answer; what is sent is a small copy of a picture."""
    from gradio_client import Client

    clients = [Client(served.address, verbose=False, download_files=False, analytics_enabled=False) for _ in range(2)]
    sentences = ["a red coat", "blue trousers"]
    jobs = [one.submit(text, 3, api_name="/search") for one, text in zip(clients, sentences, strict=True)]
    for sentence, job in zip(sentences, jobs, strict=True):
        gallery, told, _ = job.result()
        found = huecry.Index.open(place).search(sentence, k=3)
        captions = [f"{rank} · {one.score:.3f}" for rank, one in enumerate(found, 1)]
        assert [one["caption"] for one in gallery["value"]] == captions
        assert told.startswith("3 of 16 pictures in ")
        assert status(gallery["value"][0]["image"]["url"]) == 200


@pytest.mark.slow
def test_no_other_file_is_served_and_none_is_taken(served, place, photo_folder) -> None:
    picture = next((photo_folder / "train").glob("*.png"))
    others = ["/etc/passwd", "../../../etc/passwd", str(picture), str(place), str(Path(__file__)), "http://192.0.2.1/a"]
    asked = [f"/gradio_api/file={one}" for one in others] + [f"/file={picture}", f"/gradio_api/file/{picture}"]
    asked += ["/gradio_api/deep_link?session_hash=a", "/gradio_api/proxy=http://192.0.2.1/", "/monitoring", "/runs"]
    assert {url: status(served.address + url) for url in asked} == dict.fromkeys(asked, 403)
    for way in ("upload", "process_recording", "run/search", "api/search", "call/search"):
        assert status(f"{served.address}/gradio_api/{way}", b"{}") == 403, way


@pytest.mark.slow
@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example:7860"}, {"Origin": "http://evil.example"}, {"Origin": "null"}]
)
def test_another_site_gets_nothing(served, headers) -> None:
    """Not even one whose own name leads here."""
    join = f"{served.address}/gradio_api/queue/join"
    assert (status(served.address), status(f"{served.address}/config")) == (200, 200)
    assert (status(served.address, **headers), status(join, b"{}", **headers)) == (403, 403)
    own = served.address.removeprefix("http://")
    assert status(served.address, Host=own, Origin=served.address) == 200
    assert status(served.address, Host=own.replace("127.0.0.1", "localhost")) == 200


@pytest.mark.slow
def test_it_listens_on_the_loopback_alone(served) -> None:
    """Any other address of this machine is refused."""
    port = int(served.address.rpartition(":")[2])
    with socket.socket() as other:
        assert other.connect_ex(("127.0.0.1", port)) == 0
    with socket.socket() as other:
        assert other.connect_ex(("127.0.0.2", port)) != 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_ends_and_leaves_nothing(place, tmp_path, number) -> None:
    with serving(place, tmp_path) as served:
        assert [path.name.startswith("huecry-page-") for path in tmp_path.iterdir()] == [True]
        served.process.send_signal(number)
        assert served.process.wait(30) == 0
    assert not list(tmp_path.iterdir())
    assert "Traceback" not in served.process.stderr.read()


def test_mistakes(mistake, place, tmp_path) -> None:
    mistake(["serve", str(tmp_path / "no_index")], tmp_path / "no_index")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        mistake(["serve", str(place), "--port", str(port)], f"127.0.0.1:{port}", "--port")
    mistake(["serve", str(place), "--host", "203.0.113.7"], "203.0.113.7", "--host")
    mistake(["serve", str(place), "--host", "::1"], "::1", "--host")
    mistake(["serve", str(place), "--port", "70000"], "70000", "--port")


def test_pictures_that_are_gone(mistake, photo_folder, tmp_path) -> None:
    shutil.copytree(photo_folder, tmp_path / "drawn")
    api.index("tiny", str(tmp_path / "drawn"), "data.workers=0", "train.cpu_threads=1", out=str(tmp_path / "photos"))
    shutil.rmtree(tmp_path / "drawn")
    mistake(["serve", str(tmp_path / "photos")], tmp_path / "photos", tmp_path / "drawn")


def test_without_gradio(place, monkeypatch) -> None:
    for name in [name for name in sys.modules if re.match(r"gradio(\.|$)|huecry\.retrieval\.page$", name)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delattr(huecry.retrieval, "page", raising=False)
    with pytest.raises(UserError, match=r"the page needs gradio; install it with pip install 'huecry\[app\]'"):
        serve(place)
