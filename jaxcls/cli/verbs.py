"""The verbs of `jaxcls`, in groups: each is a file of this folder with `arguments(parser)` and `run(args)`."""

GROUPS = {
    "Train": {
        "check": "look whether a run could begin: config, pictures, disk",
        "train": "train, go on with a run, make one longer; k folds",
        "find-lr": "suggest a learning rate by a short test",
        "ablate": "run a ladder of configs with several seeds",
        "tune": "search for good values of a config's keys",
        "nas": "search for a net: a supernet, a controller, random nets beside it",
        "configs": "list, show and copy the configs that come with jaxcls",
        "models": "list the models",
        "zeroshot": "make a classifier of the names of its classes, by CLIP or SigLIP, without training",
        "summarize": "a model layer by layer, with counts and speed",
    },
    "Measure": {
        "eval": "evaluate a run on its own or other pictures, or weights without a run",
        "report": "write the report of a run",
        "compare": "tell whether runs differ by more than noise",
        "calibrate": "show what a temperature, thresholds, costs change; --apply stores them",
        "robustness": "measure a run on noise, blur, weather, compression",
    },
    "Use": {
        "predict": "predict the classes of pictures",
        "find": "find pictures by a text or by a picture",
        "serve": "answer over HTTP, with a page to drop pictures on",
        "inspect": "look into checkpoints, compare and verify them",
        "average": "average checkpoints of one or several runs",
        "prune": "take away the channels of a run that matter least: a smaller, faster net",
        "push": "put a run on the Hugging Face hub, with a card that says how good it is",
        "export": "write a run or a model as weights, checked ONNX files, StableHLO, for Triton",
    },
    "Data": {
        "prepare": "download and convert a public data set",
        "clean": "find copies, leaks, outliers and wrong labels in a folder",
        "show-augment": "show what training does to the pictures",
        "baseline": "hand-made features with a linear classifier",
        "probe": "what the features of a frozen net are worth",
    },
    "Machine": {
        "doctor": "versions, devices, extras, cache, disk",
        "launch": "start a verb in several processes of this machine",
        "completion": "print the completion script of a shell",
    },
}
VERBS = {verb: text for verbs in GROUPS.values() for verb, text in verbs.items()}


def module(verb: str) -> str:
    """The name of the module that holds a verb."""
    return f"jaxcls.cli.{verb.replace('-', '_')}"
