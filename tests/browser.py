"""A small client of Chromium's DevTools port: pages that are clicked, typed on and looked at as a person does."""

import base64
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-extensions",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps",
         "--hide-scrollbars=false", "--disable-dev-shm-usage", "--remote-debugging-port=0")  # fmt: skip
KEYS = {
    "Tab": 9,
    "Enter": 13,
    "Space": 32,
    "ArrowRight": 39,
    "ArrowLeft": 37,
    "ArrowDown": 40,
    "Home": 36,
    "End": 35,
    "Escape": 27,
}
PATIENCE = 60  # seconds; a heat map of a run is compiled first


@contextlib.contextmanager
def browser(folder):
    """A running browser, with its profile in a folder: `open_page` opens pages. Skips where there is none."""
    if PROGRAM is None:
        pytest.skip("needs chromium (Debian's package of this name)")
    pytest.importorskip("websockets")
    profile = Path(folder) / "profile"
    with open(Path(folder) / "chromium.log", "wb") as log:
        command = [PROGRAM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "HOME": str(folder)})
    try:
        port = _port(profile / "DevToolsActivePort", process)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/version", timeout=PATIENCE) as answer:
            client = Client(json.load(answer)["webSocketDebuggerUrl"])
        with client.socket:
            yield client
            with contextlib.suppress(Exception):
                client.call("Browser.close")
    finally:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(file, process):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(OSError, IndexError, ValueError):
            return int(file.read_text().split()[0])
        if process.poll() is not None:
            pytest.skip("chromium does not start here")
        time.sleep(0.05)
    pytest.skip("chromium does not start here")


class Client:
    """Commands over the websocket of DevTools; events are kept by session."""

    def __init__(self, address):
        from websockets.sync.client import connect

        self.socket = connect(address, max_size=2**27, compression=None)
        self.events, self._numbers = {}, itertools.count(1)

    def call(self, method, session=None, **parameters):
        """The result of a command; events that come meanwhile are kept."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        self.socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while True:
            found = json.loads(self.socket.recv(PATIENCE))
            if found.get("id") == number:
                assert "error" not in found, f"{method}: {found['error']}"
                return found["result"]
            if "method" in found:
                self.events.setdefault(found.get("sessionId"), []).append((found["method"], found["params"]))

    def open_page(self, url, *, size=(1280, 900), dark=False, touch=False, wait="document.readyState == 'complete'"):
        """A Page with a context (storage) of its own, once what `wait` says is true on it."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session, context)
        for domain in ("Page", "Runtime", "Network", "Log", "DOM", "Accessibility"):
            page.call(f"{domain}.enable")
        width, height = size
        page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        page.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call(
            "Emulation.setEmulatedMedia", features=[scheme, {"name": "prefers-reduced-motion", "value": "reduce"}]
        )
        page.go(url, wait)
        return page


class Page:
    """One page. `requests`: addresses it has asked for; `complaints`: errors on its console."""

    def __init__(self, client, session, context):
        self.client, self.session, self.context = client, session, context

    def call(self, method, **parameters):
        return self.client.call(method, self.session, **parameters)

    def events(self, method):
        return [found for name, found in self.client.events.get(self.session, []) if name == method]

    @property
    def requests(self):
        self.call("Runtime.evaluate", expression="0")  # takes in what has come
        return [event["request"]["url"] for event in self.events("Network.requestWillBeSent")]

    @property
    def complaints(self):
        self.call("Runtime.evaluate", expression="0")
        thrown = [event["exceptionDetails"] for event in self.events("Runtime.exceptionThrown")]
        logged = [e["entry"]["text"] for e in self.events("Log.entryAdded") if e["entry"]["level"] == "error"]
        return [*thrown, *logged]

    def go(self, url, wait="document.readyState == 'complete'"):
        self.call("Page.navigate", url=url)
        self.until(f"location.href != 'about:blank' && ({wait})")

    def js(self, expression):
        """The value of an expression, awaited."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression, seconds=PATIENCE):
        """Waits until an expression is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(AssertionError):
                if self.js(f"Boolean({expression})"):
                    return
            time.sleep(0.03)
        raise AssertionError(f"never true: {expression}; the page reads {self.js('document.body.innerText')!r}")

    def text(self, selector="body"):
        """What a person reads there, brought into view: what is far out of it need not be laid out."""
        return self.js(
            f"(async () => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'nearest', behavior: 'instant'});"
            "for (const _ of '12') await new Promise(requestAnimationFrame);"
            "return e.innerText; })()"
        )

    def place(self, selector):
        """The middle of an element, brought into view; it must be what lies there, not covered."""
        self.call("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})"
                  ".scrollIntoView({block: 'center', behavior: 'instant'})")  # fmt: skip
        x, y, hit = self.js(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}), r = e.getBoundingClientRect();"
            "const x = r.x + r.width / 2, y = r.y + r.height / 2, at = document.elementFromPoint(x, y);"
            "return [x, y, e.contains(at)]; })()"
        )
        assert hit, f"{selector} is covered or not shown"
        return x, y

    def mouse(self, kind, x, y, buttons=1):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=buttons, clickCount=1)

    def click(self, selector):
        x, y = self.place(selector)
        self.mouse("mousePressed", x, y)
        self.mouse("mouseReleased", x, y, 0)

    def drag(self, points):
        """Draws a line with the mouse."""
        self.mouse("mousePressed", *points[0])
        for point in points[1:]:
            self.mouse("mouseMoved", *point)
        self.mouse("mouseReleased", *points[-1], 0)

    def key(self, name, times=1):
        code = {"key": " " if name == "Space" else name, "code": name, "windowsVirtualKeyCode": KEYS[name]}
        text = {"Enter": {"text": "\r"}, "Space": {"text": " "}}.get(name, {})
        for _ in range(times):
            self.call("Input.dispatchKeyEvent", type="keyDown", **code, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def chosen(self, action, paths):
        """Does what opens the dialog for files, and chooses some in it."""
        self.call("Page.setInterceptFileChooserDialog", enabled=True)
        before = len(self.events("Page.fileChooserOpened"))
        action()
        end = time.monotonic() + PATIENCE
        while len(self.events("Page.fileChooserOpened")) == before:
            assert time.monotonic() < end, "no dialog for files was opened"
            self.call("Runtime.evaluate", expression="0")
        opened = self.events("Page.fileChooserOpened")[-1]
        self.call("DOM.setFileInputFiles", files=[str(path) for path in paths], backendNodeId=opened["backendNodeId"])

    def downloaded(self, action, path):
        """Does what downloads a file to this path, and waits for it; its bytes."""
        behaviour = {"behavior": "allow", "downloadPath": str(path.parent), "browserContextId": self.context}
        self.client.call("Browser.setDownloadBehavior", **behaviour)
        action()
        end = time.monotonic() + PATIENCE
        while not (path.is_file() and path.stat().st_size):
            assert time.monotonic() < end, f"{path.name} was not downloaded"
            time.sleep(0.03)
        return path.read_bytes()

    def drop(self, selector, paths):
        """Drags files onto an element, and lets them fall."""
        x, y = self.place(selector)
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def accessible(self):
        """(role, name) of what a screen reader is told of, in order."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        shown = [node for node in nodes if not node.get("ignored")]
        return [(n.get("role", {}).get("value", ""), n.get("name", {}).get("value", "")) for n in shown]

    def picture(self, path, whole=False):
        """A screenshot, as PNG."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        Path(path).write_bytes(base64.b64decode(found["data"]))
        return path
