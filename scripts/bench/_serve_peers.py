"""What serve_load.py compares with: other servers of the same ONNX file, as their users write them. Needs no jaxcls.

    python scripts/bench/_serve_peers.py naive NET.onnx 8001       # FastAPI: a `def` endpoint, a session, Pillow
    python scripts/bench/_serve_peers.py litserve NET.onnx 8002    # LitServe: a LitAPI, one worker

Each takes a form with a picture `file` at POST /predict; the net takes bytes, [n, side, side, 3]. One thread computes
an answer, as more lose on the one core that they have.
"""

import argparse
import io
import sys
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

try:
    import litserve
except ImportError:  # only the server of that name needs it
    litserve = None


class Net:
    """A file in ONNX Runtime with what is usual around it."""

    def __init__(self, path: str):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        (self.input,) = self.session.get_inputs()
        self.side = self.input.shape[1]

    def prepare(self, encoded: bytes) -> np.ndarray:
        """Shorter side to 8/7 of the net's, then its middle."""
        image = Image.open(io.BytesIO(encoded)).convert("RGB")
        scale = round(self.side * 8 / 7) / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
        left, top = (image.width - self.side) // 2, (image.height - self.side) // 2
        return np.asarray(image.crop((left, top, left + self.side, top + self.side)))[None]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return self.session.run(None, {self.input.name: images})[0][0]


def told(logits: np.ndarray) -> dict[str, Any]:
    """The five highest classes."""
    raised = np.exp(logits - logits.max())
    probabilities = raised / raised.sum()
    best = np.argsort(-probabilities)[:5]
    return {"top": [{"class": int(i), "probability": float(probabilities[i])} for i in best]}


def naive(path: str, port: int) -> None:
    """FastAPI, as in its tutorials: the thread pool of Starlette answers."""
    import fastapi
    import uvicorn

    net, app = Net(path), fastapi.FastAPI()

    @app.get("/health")
    def health():
        return "ok"

    @app.post("/predict")
    def predict(file: fastapi.UploadFile):
        return told(net(net.prepare(file.file.read())))

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


class API(litserve.LitAPI if litserve else object):  # its worker is a process that imports this file
    """As in LitServe's tutorials; `path` is of the file."""

    path = ""

    def setup(self, device: str) -> None:
        """Opens the file, in the worker."""
        self.net = Net(self.path)

    def decode_request(self, request):  # LitServe reads the annotation, and would look for what it names in the address
        """The picture of a form."""
        return self.net.prepare(request["file"].file.read())

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Its logits."""
        return self.net(x)

    def encode_response(self, output: np.ndarray) -> dict[str, Any]:
        """The answer."""
        return told(output)


def lit(path: str, port: int) -> None:
    """LitServe."""
    api = API()
    api.path = path
    server = litserve.LitServer(api, accelerator="cpu", timeout=60)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning", access_log=False)


PEERS = {"naive": naive, "litserve": lit}


def main(argv: list[str] | None = None) -> int:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("model", help="NET.onnx")
    parser.add_argument("port", type=int)
    args = parser.parse_args(argv)
    PEERS[args.peer](args.model, args.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
