"""The page at `/`: its files, and at `/about` what it tells of the models and how far to rely on them."""

import asyncio
import hashlib
import importlib.resources
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from jaxcls import files, set_metrics
from jaxcls.errors import UserError
from jaxcls.measure import decision as decisions
from jaxcls.measure.multilabel.answers import HALF
from jaxcls.serve.artefacts import JAX, Served
from jaxcls.serve.registry import Registry
from jaxcls.serve.settings import Settings
from jaxcls.types import Figures

KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
LARGEST = 2**27  # bytes of stored logits that are read for the page
DOUBTFUL = 0.5  # below which the page marks an answer, where no probability is stored from which on to answer


def router(registry: Registry, settings: Settings) -> APIRouter:
    """`/`, `/static/...` and `/about`."""
    routes = APIRouter()
    pages = dict(_static())
    known: dict[str, tuple[str, dict[str, Any]]] = {}  # name -> (version, what is told of it)
    lock = asyncio.Lock()

    @routes.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        return _answer(request, *pages["index.html"])

    @routes.get("/static/{name}", include_in_schema=False)
    async def static(request: Request, name: str) -> Response:
        if name not in pages:
            return JSONResponse({"detail": "Not Found"}, 404)
        return _answer(request, *pages[name])

    @routes.get("/about", tags=["models"])
    async def about() -> dict[str, Any]:
        """What the page tells: the models, how good they were measured to be, what to know before relying on them."""
        told = []
        async with lock:  # reading what was measured takes a while: once for each version
            for served in map(registry.get, registry.names()):
                if known.get(served.name, ("",))[0] != served.version:
                    known[served.name] = served.version, await asyncio.to_thread(of_model, served)
                told.append(known[served.name][1])
        limits = {"bytes": settings.max_bytes, "pictures": settings.max_pictures, "pixels": settings.max_pixels}
        return {"models": told, "limits": limits, "top": settings.top, "feedback": settings.feedback is not None}

    return routes


def _static() -> Iterator[tuple[str, tuple[bytes, str]]]:
    """Name -> (content, type) of the page's files; there are no others, whatever is asked for."""
    for file in (importlib.resources.files("jaxcls.serve") / "static").iterdir():
        if kind := KINDS.get(Path(file.name).suffix):
            yield file.name, (file.read_bytes(), kind)


def _answer(request: Request, content: bytes, kind: str) -> Response:
    """A file, or that what the browser has of it is good: it asks each time, so that an update is never half there."""
    tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    headers = {"etag": tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)


def of_model(served: Served) -> dict[str, Any]:
    """What the page tells of a model: Served.describe, and

    verdict (a sentence on how good it was measured to be, or ""), accuracy ({accuracy, interval, count, of} or None; of
    sets of labels with mAP in place of accuracy), limits (sentences: "Before you rely on it"), doubtful (the
    probability below which answers are in doubt; 0 of sets), draws (whether its pictures are small grey ones, such as
    can be drawn).
    """
    told = served.describe()
    verdict, accuracy, found = of_run(served) if served.backend == JAX else of_file(served)
    decision = served.predictor.decision or {}
    told_of = of_set_decision if served.sets else of_decision
    *frames, height, width, channels = served.predictor.picture
    return {
        **told,
        "verdict": verdict,
        "accuracy": accuracy,
        "limits": [*found, *map(_sentence, told["notes"]), *told_of(served.predictor.decision)],
        "doubtful": 0.0 if served.sets else (decision.get("abstention") or {}).get("threshold", DOUBTFUL),
        "draws": not frames and channels == 1 and max(height, width) <= 64,
    }


def _sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:].rstrip('.')}."


Told = tuple[str, dict[str, Any] | None, list[str]]  # verdict, accuracy, limits


def of_run(served: Served) -> Told:
    """Of a run what its report says, of the step that is served."""
    from jaxcls.report import evidence, notices, overview  # half a second, and only for runs
    from jaxcls.report.answered import answered

    place = Path(served.path)
    workdir = place if (place / "checkpoints").is_dir() else place.parent.parent
    step = served.predictor.step
    nothing = f"Nothing was measured of these weights (step {step:,}); `jaxcls eval` does that."
    try:
        logits = [workdir / "eval" / f"{split}-{step}.npz" for split in ("test", "validation")]
        if served.sets or any(path.exists() and path.stat().st_size > LARGEST for path in logits):
            return _recorded(workdir, step) or ("", None, [nothing])
        read = evidence.read(workdir, step=step)
        if not read.with_logits:
            return "", None, [nothing]
        found = answered(read)
        limits = [line for line in (notices.unfinished(read), notices.not_finite(read), notices.groups(read)) if line]
        limits += _as_served(overview.cautions(read, found), calibrated=read.decision is not None)
        return overview.verdict(read, found), _accuracy(found, f"{read.split} pictures"), limits
    except (UserError, OSError):
        return "", None, [nothing]


def _as_served(cautions: list[str], calibrated: bool) -> Iterator[str]:
    """Those of a report, whose figures are of probabilities as the model states them: calibrated ones are better."""
    for line in cautions:
        if SECTION not in line:
            yield line
        elif not calibrated:
            yield line.replace(SECTION, "`jaxcls calibrate RUN --apply` mends some of that")


def _recorded(workdir: Path, step: int) -> Told | None:
    """Of a run whose logits are many, or whose answers are sets: the figures that its evaluation left."""
    from jaxcls.measure import stored

    for split in reversed(stored.SPLITS):
        if figures := stored.read_figures(workdir, split, step):
            found = _accuracy(figures, f"{split} pictures")
            return "", found, [OPTIMISTIC] if split == "validation" else []
    return None


def of_file(served: Served) -> Told:
    """Of an ONNX file what its export was checked on: the file says it itself, else its record that lies beside it."""
    if found := getattr(served.predictor, "checked", None):
        return _checked(found)
    path = Path(served.path)
    for record in (path.with_name("export.json"), path.with_name(f"{path.name}.json")):
        entries = files.read_json(record)
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and entry.get("file") == path.name and _same_step(entry, served):
                return _checked(entry.get("check") or {})
    return "", None, [UNKNOWN]


def _checked(check: Mapping[str, Any]) -> Told:
    """Of what an export's check has found."""
    validation = "validation" in str(check.get("on"))
    of = "validation pictures" if validation else "pictures"
    found = _accuracy({**(check.get("file") or {}), "count": check.get("pictures")}, of)
    return "", found, [OPTIMISTIC] if found and validation else [] if found else [UNKNOWN]


SECTION = "see Probabilities for what calibration makes of it"  # of the report, which the page has not
OPTIMISTIC = "These pictures also chose the checkpoint, so the figure is optimistic; a test split would tell more."
LIKE_THESE = "All of this holds for pictures like those it was measured on: same kind of camera, light and subjects."
UNKNOWN = (
    "How often it is right is not stored with the file: lay the export.json of its run beside it, or measure it with "
    "`jaxcls eval`."
)


def _same_step(entry: Mapping[str, Any], served: Served) -> bool:
    return served.step is None or entry.get("step") in (None, served.step)


def _accuracy(figures: Figures, of: str) -> dict[str, Any] | None:
    """{accuracy (of sets mAP), interval, count, of}; None where it is not known."""
    name = "mAP" if "mAP" in figures else "accuracy"
    try:
        low, high = map(float, figures["interval"] if "interval" in figures else set_metrics.interval(figures) or ())
        found = {name: float(figures[name]), "interval": [low, high], "count": int(figures["count"])}
    except (KeyError, TypeError, ValueError):
        return None
    return {**found, "of": of}


def of_set_decision(decided: decisions.Decision | None) -> Iterator[str]:
    """Sentences on how labels are chosen."""
    own = {entry["threshold"] for entry in (decided or {}).get("thresholds", ())} - {HALF}
    least = "its own threshold (see Classes)" if own else "50 %"
    yield f"A picture may have several labels, or none: each class whose probability reaches {least} is named."
    if chosen := (decided or {}).get("outliers"):
        share = 100 * chosen["accepted"]
        yield f"Pictures stranger than {share:g} % of those of validation are marked as unlike those of training."
    yield LIKE_THESE


def of_decision(decided: decisions.Decision | None) -> Iterator[str]:
    """Sentences on what is stored of answers in doubt, and on what is not."""
    decided = decided or {}
    if chosen := decided.get("abstention"):
        yield (
            f"Answers below {100 * chosen['threshold']:.1f} % are to be left to a person: of those above, at most "
            f"{100 * chosen['risk']:g} % should be wrong."
        )
    if chosen := decided.get("sets"):
        share = 100 * chosen["coverage"]
        yield f"The classes that are listed as possible hold the right one in {share:g} % of pictures."
    if chosen := decided.get("outliers"):
        share = 100 * chosen["accepted"]
        yield (
            f"Pictures stranger than {share:g} % of those of validation are marked as unlike those of "
            "training; some that are strange are not noticed."
        )
    else:
        yield "It has no class for “none of these”: a picture of something else gets one of its classes all the same."
    yield LIKE_THESE
