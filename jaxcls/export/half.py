"""float16 files: half the size, for GPUs. On CPUs nothing else is gained: ONNX Runtime computes in float32."""

import warnings
from typing import TYPE_CHECKING

from jaxcls.errors import UserError
from jaxcls.export import quantise, weighted

if TYPE_CHECKING:
    from onnx import ModelProto

# Stay in float32. With them in float16 ONNX Runtime 1.32 on CPUs crashes when it opens a ViT (at full optimisation),
# and with norms it answers otherwise at the second call (microsoft/onnxruntime#27768). Mixed-precision training keeps
# norms so, too.
FULL = ("Gelu", "LayerNormalization")


def half(model: "ModelProto") -> "ModelProto":
    """A float32 model with weights and computation in float16; the pictures stay uint8, the answers float32.

    By onnxruntime.transformers.float16. Weights beyond 65,504 are cut off there, below 6e-8 they become 0; what
    overflows on the way is found by the check of the file. Metadata is kept, with "precision" float16.

    Raises:
      UserError: where ONNX Runtime's converter refuses.
    """
    try:
        from onnxruntime.transformers import float16

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            left = [*float16.DEFAULT_OP_BLOCK_LIST, *FULL]
            out = float16.convert_float_to_float16(weighted.named(model), keep_io_types=True, op_block_list=left)
    except Exception as error:  # of half a dozen types
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"--float16: onnxruntime can't convert this net ({reason}); leave it out.") from error
    return quantise.labelled(out, model, "float16")
