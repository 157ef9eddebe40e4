"""Tables of nonsense for _serve_hostile.py: kinds of contents, names of files, JSON, tensors, addresses."""

import json

CONTENT_TYPES = (
    "text/html",
    "application/xml",
    "multipart/mixed; boundary=a",
    "image",
    "a" * 5000,
    "é/ü",
    "application/json",
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "application/grpc",
    ";;;",
    f"multipart/form-data; boundary={900 * 'x'}",
)
FILE_NAMES = (
    "../../etc/passwd",
    "/etc/passwd",
    "..\\..\\x",
    "a\0b.jpg",
    "%2e%2e%2f",
    "x" * 3000,
    "ü.jpg",
    "",
    "con",
    "$(id)",
    "a.onnx",
)
# to a good tensor
TENSORS = (
    {"shape": [1, 16, 16]},
    {"shape": [-1, 16, 16, 3]},
    {"shape": [2**40, 16, 16, 3]},
    {"shape": []},
    {"shape": "x"},
    {"datatype": "FP32"},
    {"datatype": 5},
    {"data": [300] * 768},
    {"data": ["a"] * 768},
    {"data": None},
    {"data": {}},
    {"data": [[[0]]]},
    {"name": "x"},
    {"name": None},
    {"shape": [1.5, 16, 16, 3]},
    {"data": [0.5] * 768},
    {"datatype": "BYTES", "shape": [1], "data": ["!"]},
    {"shape": [0, 16, 16, 3], "data": []},
    {"datatype": "BYTES", "shape": [9], "data": ["eA=="]},
    {"parameters": {"binary_data_size": 10**12}},
)
ADDRESSES = (
    "/static/../../../etc/passwd",
    "/static/%2e%2e/%2e%2e/app.py",
    "/static//etc/passwd",
    "/..%5c..%5c",
    "//",
    "/%00",
    "/static/%252e%252e/x",
    "/models/../../x",
    "/predict/",
    "/v2/models/" + "a/" * 500,
    "/static/",
    "/é",
)
# in place of HTTP, or methods and hosts that are not there
PROTOCOLS = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 500,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\r\n" * 50 + b"x\r\n\r\n",
    b"GET /models\r\n\r\n",
    b"GET  HTTP/9.9\r\n\r\n",
    b"\0" * 2000,
    b"GET http://other/ HTTP/1.1\r\nHost: other\r\n\r\n",
    b"TRACE / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"DELETE /predict HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /models HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"CONNECT x:80 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
)


def bodies(good: str) -> tuple[bytes, ...]:
    """Of JSON; `good`: a picture in base64."""
    return (
        b"{",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"null",
        b"[]",
        b'"\xff"',
        b"{}",
        b'{"images": 5}',
        b'{"images": [5]}',
        b'{"images": []}',
        b'{"images": ["' + b"!" * 1000 + b'"]}',
        json.dumps({"images": ["http://127.0.0.1/x"]}).encode(),
        json.dumps({"images": ["file:///etc/passwd"]}).encode(),
        json.dumps({"images": ["data:,x"]}).encode(),
        json.dumps({"images": [good], "model": "../.."}).encode(),
        json.dumps({"images": [good] * 70}).encode(),
        json.dumps({"images": [good], "model": ["x"]}).encode(),
        b'{"images": ["' + good.encode() + b'"], "top": 1e999}',
        *(json.dumps({"images": [good], "top": top}).encode() for top in (-1, 0, 1.5, "x", 10**400, [], {}, True)),
        json.dumps({"images": [good], "heatmap": "maybe"}).encode(),
        b"9" * 10_000,
        b'{"images": ["\\ud800"]}',
    )
