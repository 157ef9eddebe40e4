"""What /openapi.json says about bodies that the routes read by hand: schemas and examples."""

from typing import Any

from jaxcls.serve.protocol import OUTPUTS

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="  # a grey PNG

_ERROR: dict[str, Any] = {
    "type": "object",
    "properties": {"error": {"type": "string", "description": "One line."}},
    "required": ["error"],
}
_BEST = {
    "type": "object",
    "properties": {
        "class": {"type": "string"},
        "probability": {"type": "number"},
        "threshold": {"type": "number", "description": "From which on it is a label; where answers are sets."},
    },
    "required": ["class", "probability"],
}
_ANSWER = {
    "type": "object",
    "description": "A picture's: `error`, or the rest. `abstained`, `set`, `energy`, `distance`, `outlier` where "
    "`jaxcls calibrate` has stored what tells them. Of a model with several labels a picture (`output` is `sigmoid`) "
    "`labels` and `probabilities` stand in place of `class` and `probability`.",
    "properties": {
        "class": {"type": "string", "description": "The most probable one, or what thresholds or costs decide."},
        "probability": {"type": "number", "description": "Of that class; calibrated where a calibration is stored."},
        "labels": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Classes at or above their thresholds, the most probable first; empty for none.",
        },
        "probabilities": {"type": "array", "items": {"type": "number"}, "description": "Of these labels."},
        "top": {"type": "array", "items": _BEST, "description": "The most probable classes, highest first."},
        "abstained": {"type": "boolean"},
        "set": {"type": "array", "items": {"type": "string"}},
        "energy": {"type": "number"},
        "distance": {"type": "number"},
        "outlier": {"type": "boolean"},
        "heatmap": {
            "type": ["string", "array"],
            "items": {"type": "string"},
            "description": "A data URL of a PNG; where answers are sets, one for each label.",
        },
        "error": {"type": "string"},
    },
}
_ANSWERS = {
    "type": "object",
    "properties": {
        "model": {"type": "string"},
        "version": {"type": "string"},
        "step": {"type": ["integer", "null"]},
        "answers": {"type": "array", "items": _ANSWER},
        "error": {"type": "string", "description": "Where no picture has an answer: the first one's."},
    },
    "required": ["model", "version", "step", "answers"],
}
_FILES = {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
_TOP = {"type": "integer", "minimum": 1, "maximum": 100000}
_WORDS = ["true", "false", "1", "0", ""]
_FIELDS = {
    "model": {"type": ["string", "null"], "description": "As in the address, which comes first."},
    "top": _TOP,
    "heatmap": {"enum": [True, False, None, *_WORDS]},
}
_BOTH = [{"class": "7", "probability": 0.94}, {"class": "1", "probability": 0.03}]
_EXAMPLE = {
    "model": "digits",
    "version": "1200-3f29c1ab",
    "step": 1200,
    "answers": [
        {"class": "7", "probability": 0.94, "top": _BOTH},
        {"error": "picture 2: empty file; replace or remove it"},
    ],
}


def _refused(status, text):
    headers = {"Retry-After": {"schema": {"type": "string"}}} if status == 503 else {}
    return {"description": text, "content": {"application/json": {"schema": _ERROR}}, "headers": headers}


REFUSED: dict[Any, dict[str, Any]] = {
    status: _refused(status, text)
    for status, text in {
        400: "The request makes no sense, or is cut off.",
        401: "An API key is needed.",
        403: "A web page from elsewhere may not ask.",
        404: "There is no such model or version.",
        422: "A parameter makes no sense, or no picture could be read.",
        503: "Busy, or warming up: come back after `Retry-After` seconds.",
    }.items()
}
BUSY: dict[Any, dict[str, Any]] = {
    **REFUSED,
    408: _refused(408, "The body came too slowly, or not at all."),
    413: _refused(413, "Too many bytes, pixels or pictures."),
    415: _refused(415, "A body of another kind."),
    500: _refused(500, "A fault of the model or of the service."),
    504: _refused(504, "No answer within the time."),
}
MODELS: dict[Any, dict[str, Any]] = {status: REFUSED[status] for status in (400, 401)}

PREDICT: dict[str, Any] = {
    "parameters": [
        {"name": "model", "in": "query", "schema": {"type": "string"}, "description": "Default: the first one."},
        {"name": "top", "in": "query", "schema": _TOP, "description": "Classes that are listed."},
        {
            "name": "heatmap",
            "in": "query",
            "schema": {"type": "string", "enum": _WORDS},
            "description": "A PNG that shows what each answer rests on.",
        },
    ],
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "images": _FILES,
                        **_FIELDS,
                    },
                    "required": ["images"],
                },
                "encoding": {"images": {"contentType": "image/*"}},
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "images": {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "contentEncoding": "base64"},
                            "description": "Files of pictures in base64, or data URLs. Addresses are not fetched.",
                        },
                        **_FIELDS,
                    },
                    "required": ["images"],
                },
                "examples": {"one": {"summary": "A picture of one pixel", "value": {"images": [PIXEL], "top": 2}}},
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
}
PREDICTED: dict[Any, dict[str, Any]] = {
    200: {
        "description": "An answer to each picture, in their order; some may be errors.",
        "content": {"application/json": {"schema": _ANSWERS, "example": _EXAMPLE}},
    },
    **BUSY,
}


def _tensor(kind, axes, data):
    """What is refused beside: data of another size than the shape says."""
    return {
        "type": "object",
        "properties": {
            "name": {"type": "string", "enum": ["image"]},
            "datatype": {"type": "string", "enum": [kind]},
            "shape": {
                "type": "array",
                "items": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
                "minItems": axes,
                "maxItems": axes,
            },
            "data": {"type": "array", "minItems": 1, **data},
            "parameters": {"type": "object"},
        },
        "required": ["name", "datatype", "shape", "data"],
    }


_LEVEL = {"type": "integer", "minimum": 0, "maximum": 255}
_TENSORS = [
    _tensor("UINT8", 4, {"items": {"anyOf": [_LEVEL, {"type": "array"}]}, "description": "Numbers, flat or nested."}),
    _tensor("BYTES", 1, {"items": {"type": "string", "contentEncoding": "base64"}, "description": "Files, in base64."}),
]
_OUTPUT = {
    "type": "object",
    "properties": {"name": {"type": "string", "enum": list(OUTPUTS)}, "parameters": {"type": "object"}},
    "required": ["name"],
}
_INFERENCE = {
    "type": "object",
    "properties": {
        "id": {"type": ["string", "null"]},
        "inputs": {"type": "array", "items": {"anyOf": _TENSORS}, "minItems": 1, "maxItems": 1},
        "outputs": {"type": ["array", "null"], "items": _OUTPUT},
        "parameters": {"type": "object"},
    },
    "required": ["inputs"],
}
_ONE = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [PIXEL]}
INFER: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": _INFERENCE, "example": {"id": "1", "inputs": [_ONE]}}},
    }
}
INFERRED: dict[Any, dict[str, Any]] = {
    200: {
        "description": "Tensors: class, probability (or labels), probabilities, and what is stored beside.",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "model_name": {"type": "string"},
                        "model_version": {"type": "string"},
                        "id": {"type": "string"},
                        "outputs": {"type": "array", "items": {"type": "object"}},
                    },
                    "required": ["model_name", "model_version", "outputs"],
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    **BUSY,
}
