"""The same few pictures in every form that `config.data.name` takes: 8 of each of three classes, 12 x 10, in colour."""

import csv
import io
import json
import tarfile

import numpy as np
from PIL import Image

CLASSES = ("ant", "bee", "cow")
EACH = 8
N = EACH * len(CLASSES)
ROWS = [(f"{name}_{i}", k) for k, name in enumerate(CLASSES) for i in range(EACH)]  # (name of a picture, class)


def pixels(row):
    """uint8 [12, 10, 3], of its class's brightness."""
    noise = np.random.default_rng(row).integers(-40, 41, (12, 10, 3))
    return (50 + 70 * ROWS[row][1] + noise).clip(0, 255).astype(np.uint8)


def png(row):
    """Its bytes as a file."""
    file = io.BytesIO()
    Image.fromarray(pixels(row)).save(file, "PNG")
    return file.getvalue()


def tags(row):
    """A set of classes: its own, the next one for every second picture, none for every eighth."""
    k = ROWS[row][1]
    return () if row % 8 == 7 else (k,) if row % 2 else (k, (k + 1) % 3)


def membership():
    """uint8 [N, 3] of `tags`."""
    found = np.zeros((N, 3), np.uint8)
    for row in range(N):
        found[row, list(tags(row))] = 1
    return found


def flat(root):
    """The pictures beside each other."""
    (root / "pictures").mkdir(parents=True)
    for row, (name, _) in enumerate(ROWS):
        (root / "pictures" / f"{name}.png").write_bytes(png(row))
    return root / "pictures"


def folder(root):
    for row, (name, k) in enumerate(ROWS):
        (root / CLASSES[k]).mkdir(parents=True, exist_ok=True)
        (root / CLASSES[k] / f"{name}.png").write_bytes(png(row))
    return f"folder/{root}"


def unlabelled(root):
    return f"unlabelled/{flat(root)}"


def table(root, head=("path", "label"), cells=lambda row: (CLASSES[ROWS[row][1]],)):
    flat(root)
    with open(root / "table.csv", "w", newline="") as file:
        lines = [(f"pictures/{name}.png", *cells(row)) for row, (name, _) in enumerate(ROWS)]
        csv.writer(file).writerows([head, *lines])
    return f"table/{root}/table.csv"


def table_sets(root):
    return table(root, ("path", *CLASSES), lambda row: membership()[row]) + f"?labels={','.join(CLASSES)}"


def table_bare(root):
    return table(root, ("path",), lambda row: ())


def names(root):
    return rf"names/{flat(root)}?label=^([a-z]+)_"


def arrays(root, labels=None):
    root.mkdir()
    labels = np.array([k for _, k in ROWS]) if labels is None else labels
    images = np.stack([pixels(row) for row in range(N)])
    np.savez(root / "set.npz", images=images, labels=labels, classes=np.array(CLASSES))
    return f"arrays/{root}/set.npz"


def arrays_sets(root):
    return arrays(root, membership())


def shards(root):
    root.mkdir()
    for part in range(2):
        with tarfile.open(root / f"a-{part}.tar", "w") as archive:
            for row in range(part, N, 2):
                name, k = ROWS[row]
                for suffix, content in (("png", png(row)), ("cls", str(k).encode())):
                    member = tarfile.TarInfo(f"{name}.{suffix}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    return f"shards/{root}"


def hf_table():
    """The pictures as Hugging Face's datasets write them."""
    import pyarrow as pa

    image = pa.array([{"bytes": png(row), "path": f"{ROWS[row][0]}.png"} for row in range(N)])
    features = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": list(CLASSES)},
    }
    found = pa.table({"image": image, "label": pa.array([k for _, k in ROWS], pa.int64())})
    return found.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}), features


def hf_parquet(root):
    import pyarrow.parquet as pq

    (root / "data").mkdir(parents=True)
    pq.write_table(hf_table()[0], root / "data/train-00000-of-00001.parquet")
    return f"hf/{root}"


def hf_saved(root):
    import pyarrow as pa

    root.mkdir()
    found, features = hf_table()
    with pa.OSFile(str(root / "data-00000-of-00001.arrow"), "wb") as file, pa.ipc.new_stream(file, found.schema) as out:
        out.write_table(found)
    (root / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    (root / "dataset_info.json").write_text(json.dumps({"features": features}))
    return f"hf/{root}"


def records(root):
    from jaxcls.cli.command import main

    source = folder(root.with_name(f"{root.name}.folder"))
    assert main(["prepare", source, "--to", "array_record", "--out", str(root)]) == 0
    return f"records/{root}"


def digits(root):
    return "digits"


def synthetic(root):
    return f"synthetic/{N}x16x3x3"


SINGLE = (folder, table, names, arrays, shards, hf_parquet, hf_saved, records, digits, synthetic)
SETS = (table_sets, arrays_sets)
BARE = (table_bare, unlabelled)
ALL = {make.__name__: make for make in (*SINGLE, *SETS, *BARE)}
