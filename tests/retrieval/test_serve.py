"""`huecry serve` as a process: what it answers, what it refuses, how it ends; and the mistakes that it tells."""

from __future__ import annotations

import re
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import LOOPBACK_ONLY, Served, serving

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


@pytest.fixture(scope="module")
def served(place: Path) -> Iterator[Served]:
    with serving(place) as served:
        yield served


def status(url: str, data: bytes | None = None) -> int:
    try:
        with LOOPBACK_ONLY.open(urllib.request.Request(url, data)) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
def test_the_page_answers_as_the_index_does(served, place) -> None:
    from gradio_client import Client

    client = Client(served.address, verbose=False, download_files=False, analytics_enabled=False)
    gallery, told, _ = client.predict("a red coat", 3, api_name="/search")
    found = huecry.Index.open(place).search("a red coat", k=3)
    captions = [f"{rank} · {one.score:.3f}" for rank, one in enumerate(found, 1)]
    assert [one["caption"] for one in gallery["value"]] == captions
    assert told.startswith("3 of 16 pictures in ")


@pytest.mark.slow
def test_no_other_file_is_served(served, place, photo_folder) -> None:
    picture = next((photo_folder / "train").glob("*.png"))
    for path in ("/etc/passwd", "../../../etc/passwd", str(picture), str(place), str(Path(__file__))):
        assert status(f"{served.address}/gradio_api/file={path}") in (403, 404), path
    boundary = "x" * 20
    head = 'Content-Disposition: form-data; name="files"; filename="a.png"'
    file = f"--{boundary}\r\n{head}\r\n\r\n{'a' * 99}\r\n--{boundary}--"
    upload = urllib.request.Request(
        f"{served.address}/gradio_api/upload",
        file.encode(),
        {"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    with pytest.raises(urllib.error.HTTPError, match="413"):
        LOOPBACK_ONLY.open(upload)


@pytest.mark.slow
def test_it_listens_on_the_loopback_alone(served) -> None:
    """Any other address of this machine is refused."""
    port = int(served.address.rpartition(":")[2])
    with socket.socket() as other:
        assert other.connect_ex(("127.0.0.1", port)) == 0
    with socket.socket() as other:
        assert other.connect_ex(("127.0.0.2", port)) != 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
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
    mistake(["serve", str(place), "--port", "70000"], "70000", "--port")


def test_without_gradio(place, monkeypatch) -> None:
    for name in [name for name in sys.modules if re.match(r"gradio(\.|$)|huecry\.retrieval\.page$", name)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.delattr(huecry.retrieval, "page", raising=False)
    with pytest.raises(UserError, match=r"the page needs gradio; install it with pip install 'huecry\[app\]'"):
        serve(place)
