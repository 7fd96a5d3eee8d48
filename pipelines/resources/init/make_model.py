"""Makes the tiny model of this pipeline: a logistic regression with coefficients chosen by hand.

    pip install onnx && python make_model.py

Put a model of your own in its place: anything that ONNX Runtime loads, written by
`verdict.write_bundle`, which adds the hash, the test vectors and the drift baselines.
"""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from verdict import Output, write_bundle

FEATURES = ["amount", "card_count_1h"]
WEIGHTS, BIAS = [0.01, 1.0], -4.0

graph = helper.make_graph(
    [
        helper.make_node("MatMul", ["features", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
    ],
    "tiny",
    [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, len(FEATURES)])],
    [helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None, 1])],
    [
        helper.make_tensor("weights", TensorProto.FLOAT, [len(FEATURES), 1], WEIGHTS),
        helper.make_tensor("bias", TensorProto.FLOAT, [1], [BIAS]),
    ],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
random = np.random.default_rng(1)
rows = np.column_stack([random.uniform(5, 300, 200), random.integers(1, 5, 200)]).round(2)
write_bundle(
    Path(__file__).parent / "model",
    model.SerializeToString(),
    name="tiny",
    version="1",
    features=FEATURES,
    output=Output(kind="probability"),
    rows=rows,
    watched={name: rows[:, i].tolist() for i, name in enumerate(FEATURES)},
    origin={"code": "make_model.py", "note": "coefficients chosen by hand"},
)
