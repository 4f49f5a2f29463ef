"""The masked autoencoder as an ONNX file, for the web pages and for anybody else.

  python site/export_onnx.py                        # original and improved, into build/onnx
  python site/export_onnx.py --precision fp32 --weights original
  python site/export_onnx.py runs/mine/model.safetensors

One file serves every mask. It takes an image's patches as pixels from 0 to 1 and, like the model
itself, ids_keep and ids_restore (see mae_lib.masking): the caller shuffles. The values of a patch
are in the order row, column, channel. It gives every patch as pixels again:

  pixels (L, p²·3), float32     ids_keep (K,), int32     ids_restore (L,), int32
  prediction (L, p²·3), float32

Normalisation of the input lies in the graph, and so does its undoing. Weights trained with
`norm_pix` predict in units of each patch's own mean and standard deviation, which the graph takes
from `pixels`, as `mae_lib.losses.predicted_images` does.

In int8 four layers stay in fp32: those that read pixels and that lead into the decoder, up to its
first attention, where the few visible tokens meet many mask tokens. Rounded as well, they would
cost more than the 0.1 dB that the tests allow.

The graph is written node by node rather than traced: it needs the package onnx alone, does not
depend on the version of torch, and adds nothing to the model.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from mae_lib.data.augment import MEAN, STD
from mae_lib.losses import NORM_PIX_EPS
from mae_lib.model import Block, MaskedAutoencoder
from mae_lib.runtime import cli
from mae_lib.training.checkpoints import load_shipped, load_weights

PRECISIONS = ("int8", "fp32")
OPSETS = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
IR_VERSION = 10  # the newest that the runtime of the web pages reads


class Graph:
    """An ONNX graph that grows. Values are known by their names."""

    def __init__(self, precision: str):
        self.precision, self.nodes, self.constants = precision, [], []

    def constant(self, value) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, op: str, *inputs, outputs: int = 1, domain: str = "", **attributes):
        """A node; its inputs are names or arrays. Returns the name of its output, or several."""
        names = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        made = [f"n{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, names, made, domain=domain, **attributes))
        return made if outputs > 1 else made[0]

    def linear(self, x: str, weight: np.ndarray, bias: np.ndarray, exact: bool = False) -> str:
        """x @ weightᵀ + bias; `weight` is (outputs, inputs), as in torch.

        In int8 each output has a scale of its own, found from its largest weight, and x is
        quantised as it comes ("dynamic quantisation"); unless it must be `exact`.
        """
        if exact or self.precision == "fp32":
            return self.add("Add", self.add("MatMul", x, weight.T), bias)
        scale = (np.abs(weight).max(axis=1) / 127).clip(1e-12).astype(np.float32)  # (outputs,)
        steps = np.round(weight / scale[:, None]).astype(np.int8)
        return self.add("DynamicQuantizeMatMul", x, steps.T, scale, "", bias,
                        domain="com.microsoft")

    def layer(self, x: str, layer: nn.Linear, exact: bool = False) -> str:
        return self.linear(x, array(layer.weight), array(layer.bias), exact)

    def norm(self, x: str, layer: nn.LayerNorm) -> str:
        return self.add("LayerNormalization", x, array(layer.weight), array(layer.bias),
                        epsilon=layer.eps)

    def block(self, x: str, block: Block, exact: bool = False) -> str:
        """A block of the Transformer, (N, D) → (N, D), perhaps with an `exact` attention."""
        x = self.add("Add", x, self.attention(self.norm(x, block.norm1), block.attn, exact))
        hidden = self.add("Gelu", self.layer(self.norm(x, block.norm2), block.mlp.fc1))
        return self.add("Add", x, self.layer(hidden, block.mlp.fc2))

    def attention(self, x: str, attention: nn.Module, exact: bool) -> str:
        heads, dim = attention.num_heads, attention.qkv.in_features
        weight, bias = array(attention.qkv.weight).copy(), array(attention.qkv.bias).copy()
        for part in (weight, bias):  # the queries' scale, once and for all
            part[:dim] *= (dim // heads) ** -0.5
        qkv = self.linear(x, weight, bias, exact)
        qkv = self.add("Reshape", qkv, np.array([-1, 3, heads, dim // heads]))
        qkv = self.add("Transpose", qkv, perm=[1, 2, 0, 3])  # (3, heads, N, D / heads)
        q, k, v = self.add("Split", qkv, outputs=3, axis=0, num_outputs=3)
        scores = self.add("MatMul", q, self.add("Transpose", k, perm=[0, 1, 3, 2]))
        x = self.add("MatMul", self.add("Softmax", scores, axis=-1), v)  # (1, heads, N, D / heads)
        x = self.add("Reshape", self.add("Transpose", x, perm=[0, 2, 1, 3]), np.array([-1, dim]))
        return self.layer(x, attention.proj, exact)


def array(tensor) -> np.ndarray:
    return tensor.detach().float().numpy()


def patch_statistics(graph: Graph, x: str, values: int) -> tuple[str, str]:
    """Mean and standard deviation of each patch (L, values), two of (L, 1)."""
    mean = graph.add("ReduceMean", x, np.array([1]))
    off = graph.add("Sub", x, mean)
    squares = graph.add("ReduceSum", graph.add("Mul", off, off), np.array([1]))
    variance = graph.add("Div", squares, np.float32([values - 1]))
    return mean, graph.add("Sqrt", graph.add("Add", variance, np.float32([NORM_PIX_EPS])))


def export(model: MaskedAutoencoder, norm_pix: bool, precision: str = "int8") -> onnx.ModelProto:
    """The model in ONNX; see above for what goes in and out.

    Raises ValueError for a model with a class token or without a decoder.
    """
    if model.num_extra or model.decoder_blocks is None:
        raise ValueError("Only a model with a decoder and without a class token can be exported, "
                         "such as the specified one.")
    length, values = model.num_patches, 3 * model.patch_size**2
    graph = Graph(precision)
    mean, std = (np.tile(np.float32(x), model.patch_size**2) for x in (MEAN, STD))
    patches = graph.add("Div", graph.add("Sub", "pixels", mean), std)

    # The encoder: visible patches alone.
    x = graph.add("Gather", patches, "ids_keep")
    weight = array(model.patch_embed.proj.weight).transpose(0, 2, 3, 1).reshape(-1, values)
    x = graph.linear(x, weight, array(model.patch_embed.proj.bias), exact=True)
    x = graph.add("Add", x, graph.add("Gather", array(model.pos_embed[0]), "ids_keep"))
    for block in model.blocks:
        x = graph.block(x, block)
    latent = graph.norm(x, model.norm)

    # The decoder: as many mask tokens as there are patches follow the visible ones. The surplus
    # ones are never gathered.
    x = graph.layer(latent, model.decoder_embed, exact=True)
    mask_tokens = array(model.mask_token[0]).repeat(length, axis=0)
    x = graph.add("Gather", graph.add("Concat", x, mask_tokens, axis=0), "ids_restore")
    x = graph.add("Add", x, array(model.decoder_pos_embed[0]))
    for i, block in enumerate(model.decoder_blocks):
        x = graph.block(x, block, exact=i == 0)
    x = graph.layer(graph.norm(x, model.decoder_norm), model.decoder_pred)

    if norm_pix:
        patch_mean, patch_std = patch_statistics(graph, patches, values)
        x = graph.add("Add", graph.add("Mul", x, patch_std), patch_mean)
    x = graph.add("Add", graph.add("Mul", x, std), mean)
    graph.nodes.append(helper.make_node("Identity", [x], ["prediction"]))

    shaped = helper.make_tensor_value_info
    inputs = [shaped("pixels", TensorProto.FLOAT, [length, values]),
              shaped("ids_keep", TensorProto.INT32, ["K"]),
              shaped("ids_restore", TensorProto.INT32, [length])]
    outputs = [shaped("prediction", TensorProto.FLOAT, [length, values])]
    made = helper.make_model(
        helper.make_graph(graph.nodes, "mae", inputs, outputs, graph.constants),
        opset_imports=OPSETS, ir_version=IR_VERSION, producer_name="mae_lib")
    onnx.checker.check_model(made)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE",
                        help="weights of your own, in safetensors (default: those of --weights)")
    parser.add_argument("--weights", nargs="+", default=["original", "improved"],
                        help="names of shipped weights (default: original improved)")
    parser.add_argument("--precision", choices=PRECISIONS, default="int8",
                        help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/onnx"),
                        help="(default: %(default)s)")
    arguments = parser.parse_args()
    found = ([(path.stem, load_weights(path)) for path in arguments.files]
             or [(name, load_shipped(name)) for name in arguments.weights])
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, (model, facts) in found:
        content = export(model, facts["norm_pix"], arguments.precision).SerializeToString()
        path = arguments.out / f"{name}.{arguments.precision}.onnx"
        path.write_bytes(content)
        print(f"{path}: {len(content) / 1e6:.1f} MB, {model.num_patches} patches of "
              f"{model.patch_size}×{model.patch_size} pixels")


if __name__ == "__main__":
    cli.run(main)
