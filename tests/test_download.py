"""Downloads from a server on this machine whose mirrors behave in every way that mirrors do."""

import contextlib
import errno
import hashlib
import multiprocessing
import os
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from sslbook import download
from sslbook.download import DownloadError, fetch

BODY = bytes(range(256)) * 2000  # 512,000 bytes, more than one chunk
MD5 = hashlib.md5(BODY).hexdigest()
HALF = len(BODY) // 2


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        kind, asked = self.path.strip("/"), self.headers.get("Range")
        self.server.requests.append((kind, asked))
        start = int(asked[6:-1]) if asked and kind != "no-range" else 0
        if kind == "500":
            return self.send_error(500)
        if kind == "redirect":
            self.send_response(302)
            self.send_header("Location", "/good")
            return self.end_headers()
        if kind == "drip":
            with contextlib.suppress(OSError):
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
                while not self.server.closing.wait(0.1):
                    self.wfile.write(b"x")
            return
        if kind in ("nothing", "empty"):
            self.send_response(204 if kind == "nothing" else 200)
            return self.end_headers()
        if start >= len(BODY):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(BODY)}")
            return self.end_headers()
        body = BODY[::-1] if kind == "wrong" else BODY
        self.send_response(206 if start else 200)
        if start:
            first = start + 1 if kind == "wrong-range" else start
            self.send_header("Content-Range", f"bytes {first}-{len(BODY) - 1}/{len(BODY)}")
        self.send_header("Content-Type", "text/html" if kind == "page" else "application/x-gzip")
        if kind != "no-length":
            self.send_header("Content-Length", str(10**16 if kind == "vast" else len(body) - start))
        self.end_headers()
        with contextlib.suppress(OSError):  # the client gave up, as it should
            self.send_body(kind, body, start)

    def send_body(self, kind, body, start):
        if kind == "stall":
            self.wfile.write(body[start:HALF])
            self.server.closing.wait(5)
        elif kind == "cut":  # 100,000 bytes a connection, then it breaks
            self.wfile.write(body[start : start + 100_000])
        elif kind in ("slow", "slower"):
            step = 10_000 if kind == "slow" else 1_000
            for i in range(start, len(body), step):
                self.wfile.write(body[i : i + step])
                if self.server.closing.wait(0.02):
                    return
        elif kind == "late":  # slow, but 100 bytes before the end when that shows
            self.server.closing.wait(0.2)
            self.wfile.write(body[start:-100])
            self.server.closing.wait(0.1)
            self.wfile.write(body[-100:])
        else:
            self.wfile.write(body[start:])


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests, server.closing, server.block_on_close = [], Event(), False
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.closing.set()
        server.shutdown()


@pytest.fixture
def get(server, tmp_path):
    """get("500", "good"): fetch from these mirrors, in this order, and look at the file."""

    def get(*kinds, md5=MD5, **options):
        urls = [f"http://127.0.0.1:{server.server_port}/{kind}" for kind in kinds]
        path = fetch(urls, tmp_path / "data.bin", md5, **{"show_progress": False, "timeout": 0.3, **options})
        assert path.read_bytes() == BODY
        assert [p.name for p in tmp_path.iterdir()] == ["data.bin"]  # no partial file, no lock
        return path

    get.part = tmp_path / "data.bin.part"
    get.asked = server.requests
    return get


@pytest.mark.parametrize("kind", ["good", "no-range", "no-length", "redirect"])
def test_one_good_mirror(get, kind):
    get(kind)
    assert get.asked[0] == (kind, None)


def test_no_request_if_the_file_is_there(get):
    path = get("good")
    get.asked.clear()
    assert get("500", md5=MD5.upper()) == path
    assert get.asked == []


def test_a_wrong_file_in_place_is_replaced_only_by_the_right_one(get, tmp_path):
    (tmp_path / "data.bin").write_bytes(b"old")
    with pytest.raises(DownloadError, match="is there but has another md5"):
        get("500")
    assert (tmp_path / "data.bin").read_bytes() == b"old"
    get("good")


@pytest.mark.parametrize("bad", ["500", "wrong", "page", "stall"])
def test_the_next_mirror_is_tried(get, bad):
    get(bad, "good")
    assert get.asked[0][0] == bad and get.asked[-1][0] == "good"


def test_a_mirror_that_nobody_answers_at(server, tmp_path):
    urls = ["http://127.0.0.1:1/nothing-listens-here", f"http://127.0.0.1:{server.server_port}/good"]
    assert fetch(urls, tmp_path / "new" / "x", MD5, show_progress=False).read_bytes() == BODY


def test_a_partial_file_is_resumed(get):
    get.part.write_bytes(BODY[:HALF])
    get("good")
    assert get.asked == [("good", f"bytes={HALF}-")]


def test_a_server_that_ignores_range_starts_over(get):
    get.part.write_bytes(BODY[:HALF])
    get("no-range")
    assert get.asked == [("no-range", f"bytes={HALF}-")]


def test_a_stalled_mirror_leaves_its_part_to_the_next(get):
    get("stall", "good")
    assert get.asked == [("stall", None), ("good", f"bytes={HALF}-")]


def test_a_whole_partial_file_meets_416(get):
    get.part.write_bytes(BODY)
    get("good")
    assert get.asked == [("good", f"bytes={len(BODY)}-")]


@pytest.mark.parametrize("junk", [b"x" * HALF, b"x" * (len(BODY) + 9)], ids=["short", "long"])
def test_a_wrong_partial_file_is_dropped_and_the_same_mirror_asked_again(get, junk):
    get.part.write_bytes(junk)
    get("good")
    assert get.asked == [("good", f"bytes={len(junk)}-"), ("good", None)]


def test_a_wrong_md5_drops_the_partial_file(get):
    with pytest.raises(DownloadError, match=f"another file, {len(BODY):,} bytes with md5"):
        get("wrong")
    assert not get.part.exists()
    assert len(get.asked) == 1  # nothing was there before, so it is this mirror's fault


@pytest.mark.parametrize("md5", [MD5[:6] + "*", MD5[:8].upper() + "*", "*"])
def test_a_star_stands_for_the_digits_of_an_md5_that_nobody_published(get, md5):
    get("good", md5=md5)
    get("500", md5=md5)
    assert get.asked == [("good", None)], "the file in place is known again"


@pytest.mark.parametrize("md5", [MD5[:8], MD5[1:9] + "*", ""], ids=["no star", "other digits", "nothing"])
def test_what_stands_before_the_star_must_be_right_and_without_one_all(get, md5):
    with pytest.raises(DownloadError, match="another file"):
        get("good", md5=md5)
    assert not get.part.exists()


def test_a_web_page_and_a_wrong_range_leave_the_partial_file_alone(get):
    get.part.write_bytes(BODY[:HALF])
    with pytest.raises(DownloadError, match="web page") as error:
        get("page", "wrong-range")
    assert "wrong range" in str(error.value)
    assert get.part.read_bytes() == BODY[:HALF]


def test_a_broken_connection_goes_on_where_it_broke(get):
    get.part.write_bytes(BODY[:150_000])
    get("cut")
    assert [asked for _, asked in get.asked] == [f"bytes={n}-" for n in (150_000, 250_000, 350_000, 450_000)]


def test_tries_of_one_mirror_are_limited(get, monkeypatch):
    monkeypatch.setattr(download, "TRIES", 3)
    with pytest.raises(DownloadError, match="closed after 300,000 of 512,000 bytes") as error:
        get("cut")
    assert "300,000 bytes are kept" in str(error.value)
    assert get.part.read_bytes() == BODY[:300_000]


def test_a_slow_mirror_is_given_up_while_others_are_left(get):
    get("slow", "good", slow=5e6, patience=0.1)
    (first, _), (second, asked) = get.asked
    assert (first, second) == ("slow", "good")
    assert 0 < int(re.search(r"\d+", asked)[0]) < len(BODY)  # what the slow one gave was kept


@pytest.mark.parametrize("first", ["slow", "slower"])
def test_slow_mirrors_are_used_last_the_fastest_first(get, first):
    kinds = [first, "slower" if first == "slow" else "slow", "500"]
    get(*kinds, slow=5e6, patience=0.1)
    assert [kind for kind, _ in get.asked] == [*kinds, "slow"]


def test_a_slow_mirror_is_kept_if_it_is_the_only_one(get):
    get.part.write_bytes(BODY[:-100_000])
    get("slow", slow=5e6, patience=0.05)
    assert len(get.asked) == 1


def test_a_slow_mirror_is_kept_if_it_is_nearly_done(get):
    get.part.write_bytes(BODY[:-10_000])
    get("late", "good", slow=5e6, patience=0.1)
    assert [kind for kind, _ in get.asked] == ["late"]


def test_the_error_names_every_mirror_the_md5_and_the_place(get, tmp_path):
    with pytest.raises(DownloadError) as error:
        get("500", "page", "stall", md5="0" * 32)
    message = str(error.value)
    for needed in ("/500: HTTP 500", "/page: sent a web page", "/stall: no answer for 0.3 s"):
        assert needed in message
    assert f"by hand: {tmp_path / 'data.bin'} (md5 {'0' * 32})" in message


def test_a_malformed_address_is_a_reason_not_a_crash(tmp_path):
    with pytest.raises(DownloadError, match="unknown url type"):
        fetch("not-an-address", tmp_path / "x", MD5)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's always full device")
def test_a_full_disc_ends_it_at_once(get):
    get.part.symlink_to("/dev/full")
    with pytest.raises(DownloadError, match=os.strerror(errno.ENOSPC)):
        get("good", "no-range")
    assert len(get.asked) == 1  # no other mirror would help


def test_no_room_is_said_before_the_download(get, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(DownloadError, match=r"no room for data\.bin"):
        get("good", "good")
    assert len(get.asked) == 2 and not get.part.exists(), "each is asked, none may begin"


def test_a_mirror_that_claims_too_much_does_not_end_it(get):
    get("vast", "good")
    assert [kind for kind, _ in get.asked] == ["vast", "good"]


def test_a_mirror_that_sends_without_end_leaves_half_of_the_disc(get, monkeypatch):
    room = type("Usage", (), {"free": 600_000})()
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: room)
    get("no-length", "good")
    assert get.asked == [("no-length", None), ("good", None)], "its part is gone"


def test_headers_that_drip_are_given_up(get):
    start = time.monotonic()
    get("drip", "good", timeout=0.3)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("kind", ["nothing", "empty"])
def test_an_empty_answer_is_no_file(get, kind):
    """With "*" as md5 it would be kept, to be deleted by hand."""
    get(kind, "good", md5="*")
    with pytest.raises(DownloadError, match="sent an empty file"):
        get(kind, md5="0" * 32)


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match="could not write"):
        fetch("http://127.0.0.1:1/x", tmp_path / "file" / "x", MD5)


@pytest.mark.skipif(sys.platform == "win32", reason="no file locks there")
def test_two_processes_download_once(get, server, tmp_path):
    url = f"http://127.0.0.1:{server.server_port}/slow"
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=fetch, args=(url, tmp_path / "data.bin", MD5)) for _ in range(2)]
    for process in both:
        process.start()
        time.sleep(0.05)
    for process in both:
        process.join(10)
        assert process.exitcode == 0
    assert (tmp_path / "data.bin").read_bytes() == BODY
    assert len(get.asked) == 1


def test_progress_names_the_file_the_mirror_and_the_change(get, capfd):
    get("500", "good", show_progress=True)
    out, err = capfd.readouterr()
    assert "HTTP 500" in out and "next mirror" in out
    assert "data.bin from 127.0.0.1" in err


def test_archives_agree_with_torchvision():
    from torchvision.datasets import CIFAR10, STL10, FashionMNIST

    assert (download.CIFAR10.name, download.CIFAR10.md5) == (CIFAR10.filename, CIFAR10.tgz_md5)
    assert (download.STL10.name, download.STL10.md5) == (STL10.filename, STL10.tgz_md5)
    assert [(a.name, a.md5) for a in download.FASHION_MNIST] == FashionMNIST.resources
    archives = (download.CIFAR10, download.STL10, *download.FASHION_MNIST)
    assert all(len(a.urls) == len(set(a.urls)) >= 2 and all(a.name in url for url in a.urls) for a in archives)
    assert "toronto" in download.CIFAR10.urls[-1]  # the slow one last
