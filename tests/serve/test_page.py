"""The page of a service: what a person with a mouse, a keyboard or a phone can do with it."""

import contextlib
import csv
import io
import json
import threading
import time

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("onnxruntime")

import browser
import digit_files
import uvicorn

from jaxcls.serve import app
from jaxcls.serve.artefacts import Served
from jaxcls.serve.keys import digest
from jaxcls.serve.registry import Registry
from jaxcls.serve.settings import Settings

READY = "document.documentElement.dataset.ready"
NAMES = ("<img src=x onerror=document.title='hit'>", "=cmd|' /C calc'!A0", *"23456789")
HOSTILE = "<b onclick=alert(1)>&amp;'.png"


@contextlib.contextmanager
def serving(paths, **settings):
    """The address of a service in a thread."""
    registry = Registry.open([str(path) for path in paths], note=lambda _: None)
    chosen = Settings(**settings)
    server = uvicorn.Server(uvicorn.Config(app.create(registry, chosen), port=0, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not (server.started and registry.ready):
            assert thread.is_alive()
            time.sleep(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the files of models, and pictures of digits."""
    folder = tmp_path_factory.mktemp("made")
    digit_files.write(folder / "digits.onnx")
    digit_files.write(folder / "names.onnx", classes=NAMES)
    for digit in range(10):
        (folder / f"digit-{digit}.png").write_bytes(digit_files.png(digit))
    (folder / HOSTILE).write_bytes(digit_files.png(0))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(30))
    return folder


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser.browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(scope="module")
def address(made, tmp_path_factory):
    """A service of digits that collects feedback, and makes heat maps as a run would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Served, "explains", property(lambda self: "Grad-CAM"))
        patch.setattr(Served, "heatmap", lambda self, image, name=None: np.full((56, 56, 3), 99, np.uint8))
        with serving([made / "digits.onnx"], feedback=str(made / "judged"), max_bytes=2**20) as found:
            yield found


def opened(chromium, address, **options):
    return chromium.open_page(address, wait=READY, **options)


def done(shown, n):
    shown.until(f"document.querySelectorAll('.card.done').length == {n}")


def table(shown, folder):
    """The rows of the CSV that the page gives."""
    text = shown.downloaded(lambda: shown.click("#csv"), folder / "answers.csv").decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_chosen_pictures_get_their_classes_and_a_heat_map(chromium, address, made):
    shown = opened(chromium, address)
    assert "linear on digits" in shown.text("h1") and "Before you rely on it" in shown.text("aside")
    shown.chosen(lambda: shown.click("#choose"), [made / f"digit-{digit}.png" for digit in (4, 7)])
    done(shown, 2)
    assert [shown.text(f".card:nth-child({i}) h3")[0] for i in (1, 2)] == ["4", "7"]
    assert shown.js("document.querySelectorAll('.card:first-child .bars li').length") == 5
    assert "2 pictures done" in shown.text("#status")
    shown.until("document.querySelectorAll('.view img').length == 2")
    shown.click(".explains button")
    shown.until("document.querySelector('.heat')?.naturalWidth == 56")
    assert "Grad-CAM" in shown.text(".explains")
    shown.click(".explains button")
    assert shown.js("document.querySelector('.heat') === null")
    origins = {url.removeprefix("blob:").split("/")[2] for url in shown.requests if not url.startswith("data:")}
    assert origins == {address.split("/")[2]} and not shown.complaints


def test_dropped_and_pasted_pictures_a_broken_one_and_a_table(chromium, address, made, tmp_path):
    shown = opened(chromium, address)
    shown.drop("#drop", [made / "digit-3.png", made / "broken.png", made / HOSTILE])
    done(shown, 3)
    assert "not a picture" in shown.text(".card:nth-child(2) .error") and "1 without an answer" in shown.text("#status")
    assert HOSTILE in shown.text(".card:nth-child(3) .name")  # as text
    shown.js(
        "(async () => { const t = new DataTransfer(), c = document.createElement('canvas');"
        "t.items.add(new File([await new Promise(r => c.toBlob(r))], 'pasted.png', {type: 'image/png'}));"
        "document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: t})); })()"
    )
    done(shown, 4)
    assert shown.text(".card:first-child .name") == "pasted.png"
    rows = table(shown, tmp_path)
    assert [row["path"] for row in rows] == ["pasted.png", "digit-3.png", "broken.png", HOSTILE]
    assert rows[1]["class"] == rows[1]["class_1"] == "3" and float(rows[1]["probability"]) > 0.5
    assert rows[2]["error"] and not rows[2]["class"] and rows[1]["abstained"] == "false"


def test_what_is_doubtful_and_the_history_of_this_browser(chromium, address, made):
    shown = opened(chromium, address)
    assert shown.text("#level") == "40 %"  # the stored abstention
    shown.drop("#drop", [made / f"digit-{digit}.png" for digit in range(4)])
    done(shown, 4)
    shown.js("document.querySelector('#threshold').focus()")
    shown.key("End")  # 100 %
    assert shown.js("document.querySelectorAll('.doubtful').length") == 4
    assert "doubtful: below 100 %" in shown.text(".card:nth-child(1)")
    shown.key("Home")
    assert shown.js("document.querySelectorAll('.doubtful').length") == 0
    shown.until("document.querySelectorAll('.view img').length == 4")
    time.sleep(0.2)  # until the last one is written
    shown.call("Page.reload")
    shown.until(f"{READY} && document.querySelectorAll('.card.done').length == 4")
    assert shown.text(".card:nth-child(3) h3")[0] == "2"
    shown.click("#clear")
    assert shown.js("document.querySelectorAll('.card').length") == 0
    shown.until("document.querySelector('#status').innerText == 'Cleared.'")
    shown.call("Page.reload")
    shown.until(READY)
    assert shown.js("document.querySelectorAll('.card').length") == 0


def test_by_keyboard_alone_and_for_a_screen_reader(chromium, address, made):
    """Chooses a picture, looks at the heat map, says that the answer is wrong, all by keys."""

    def reach(what):
        for _ in range(40):
            shown.key("Tab")
            if shown.js(f"document.activeElement.matches({json.dumps(what)})"):
                return
        raise AssertionError(f"Tab does not reach {what}")

    shown = opened(chromium, address)
    reach(".skip")
    reach("#choose")
    shown.chosen(lambda: shown.key("Enter"), [made / "digit-6.png"])
    done(shown, 1)
    shown.until("document.querySelector('#status').innerText.startsWith('digit-6.png: 6, ')")
    reach("#threshold")
    reach(".explains button")
    shown.key("Space")
    shown.until("document.querySelector('.heat') && document.activeElement.matches('.explains button')")
    reach(".judging > button:nth-child(2)")
    shown.key("Enter")
    assert shown.js("document.activeElement.matches('.judging input')")
    shown.type("9")
    shown.key("Enter")
    shown.until("document.activeElement.matches('.judged')")
    told = shown.accessible()
    unnamed = [role for role, name in told if role in ("button", "slider", "textbox", "image", "link") and not name]
    assert not unnamed
    assert {("heading", "Answers"), ("button", "Choose pictures"), ("image", "The picture digit-6.png")} <= set(told)
    assert shown.js("document.querySelector('#status').getAttribute('aria-live')") == "polite"
    [stored] = (made / "judged" / "9").iterdir()
    assert stored.read_bytes() == (made / "digit-6.png").read_bytes()


def test_feedback_is_announced_and_stored_in_the_class(chromium, address, made):
    shown = opened(chromium, address)
    assert "collects pictures" in shown.text("main")
    shown.drop("#drop", [made / "digit-2.png", made / "digit-5.png"])
    done(shown, 2)
    shown.click(".card:nth-child(1) .judging > button:nth-child(1)")
    shown.until("document.querySelectorAll('.judged').length == 1")
    shown.click(".card:nth-child(2) .judging > button:nth-child(2)")
    shown.type("train")
    shown.click(".card:nth-child(2) form button")
    shown.until("document.querySelector('.card:nth-child(2) .error').innerText.includes('split')")
    assert (made / "judged/2").is_dir() and not (made / "judged/train").exists()


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_has_no_need_to_scroll_sideways(chromium, address, made, dark):
    shown = opened(chromium, address, size=(360, 740), dark=dark, touch=True)
    shown.chosen(lambda: shown.click("#photo"), [made / "digit-1.png"])
    done(shown, 1)
    shown.click(".judging > button:nth-child(2)")
    assert shown.js("document.documentElement.scrollWidth") == 360
    assert shown.js("getComputedStyle(document.body).backgroundColor") == (
        "rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)"
    )
    assert shown.js("document.querySelector('#camera').getAttribute('capture')") == "environment"
    wide = shown.js("[...document.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > 360.5"
                    " && !e.closest('.skip')).map(e => e.outerHTML)")  # fmt: skip
    assert not wide


def test_a_drawn_digit_has_an_answer(chromium, address):
    shown = opened(chromium, address)
    shown.click("#draw")
    x, y = shown.place("#pad canvas")
    shown.drag([(x, y - 100 + 20 * i) for i in range(11)])  # a one
    shown.click("#ask")
    done(shown, 1)
    assert shown.text(".card h3")[0] == "1"


def test_hostile_names_are_text_and_of_several_models_one_is_chosen(chromium, made, tmp_path):
    with serving([made / "digits.onnx", made / "names.onnx"]) as address:
        shown = opened(chromium, address)
        assert not shown.js("document.querySelector('#collects').checkVisibility()")
        shown.js("document.querySelector('#model').focus()")
        shown.key("ArrowDown")
        shown.drop("#drop", [made / "digit-0.png", made / "digit-1.png"])
        done(shown, 2)
        assert shown.text(".card:nth-child(1) h3 bdi") == NAMES[0]
        assert shown.text(".card:nth-child(2) h3 bdi") == NAMES[1]
        assert "by names, version" in shown.text(".card") and not shown.js("document.querySelector('.judging')")
        rows = table(shown, tmp_path)
        assert [row["class"] for row in rows] == [NAMES[0], f"'{NAMES[1]}"]  # no formula
        assert shown.js("document.title") != "hit" and not shown.complaints
        assert not [url for url in shown.requests if url.endswith("/x")]


def test_a_key_is_asked_for_and_many_pictures_can_be_cancelled(chromium, made):
    with serving([made / "digits.onnx"], keys=(digest(b"0123456789abcdef"),), max_pictures=4, queue=8) as address:
        shown = chromium.open_page(address, wait="document.querySelector('#key').checkVisibility()")
        shown.type("0123456789abcdef")
        shown.key("Enter")
        shown.until(READY)
        shown.drop("#drop", [made / f"digit-{digit}.png" for digit in range(10)] * 3)
        done(shown, 30)
        assert not shown.js("document.querySelector('.card .error')")
        shown.js("(() => { const ask = window.fetch; window.fetch = async (...given) => {"
                 "await new Promise((r) => setTimeout(r, 200)); return ask(...given); } })()")  # fmt: skip
        shown.click("#clear")
        shown.drop("#drop", [made / f"digit-{digit}.png" for digit in range(10)])
        shown.click("#cancel")
        done(shown, 10)
        assert "Cancelled." in shown.text("#cards") and not shown.js(
            "document.querySelector('#progress').checkVisibility()"
        )
        shown.click(".card:last-child > button")  # try again
        shown.until("document.querySelector('.card:last-child h3')?.innerText[0] == '9'")
