"""What TensorFlow's ops compute, as backward rules see it: elementwise, affine, linear, or not supported by any rule."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tb_deepexplain.graph.graph_view import FLOAT_TYPES, REPLACED, GraphView

# Complete activations: a chain of elementwise ops is divided at them.
ACTIVATIONS = frozenset({"Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Softplus", "Softsign", "Tanh", "Sigmoid"})
BOOLEAN_OPS = frozenset(
    "Greater GreaterEqual Less LessEqual Equal NotEqual LogicalAnd LogicalOr LogicalNot IsNan IsInf IsFinite".split()
)
# Ops whose gradient is zero or undefined.
FLAT_OPS = frozenset(
    "Floor Ceil Round Rint Sign StopGradient ArgMax ArgMin OneHot Bincount DenseBincount Where Bucketize".split()
)
_SELECTIONS = frozenset({"Select", "SelectV2"})
_PRIMITIVES = (
    BOOLEAN_OPS
    | _SELECTIONS
    | frozenset(
        """Exp Expm1 Log Log1p Sqrt Rsqrt Square Abs Sign Reciprocal Inv Erf Erfc Erfinv Ndtri Sin Cos Tan Asin Acos Atan
        Sinh Cosh Asinh Acosh Atanh Floor Ceil Round Rint Digamma Lgamma Cast Maximum Minimum Pow SquaredDifference Atan2
        FloorMod FloorDiv Mod Xlogy Xlog1py ClipByValue""".split()
    )
)
_IDENTITIES = frozenset({"Identity", "IdentityN", "Neg", "PreventGradient", "CheckNumerics", "Snapshot"})  # up to sign
_SUMS = frozenset({"Add", "AddV2", "Sub", "AddN", "BiasAdd"})
_PRODUCTS = frozenset({"Mul", "MulNoNan"})
_QUOTIENTS = frozenset({"RealDiv", "Div", "DivNoNan", "Xdivy"})
ELEMENTWISE_OPS = ACTIVATIONS | _PRIMITIVES | _IDENTITIES | _SUMS | _PRODUCTS | _QUOTIENTS
_LINEAR = frozenset(
    """Reshape Transpose Squeeze ExpandDims Pad PadV2 MirrorPad Slice StridedSlice Split SplitV Unpack Pack ConcatV2 Concat
    Gather GatherV2 GatherNd Tile BroadcastTo Sum Mean Cumsum ReverseV2 Reverse ReverseSequence SpaceToBatchND
    SpaceToBatch BatchToSpaceND BatchToSpace SpaceToDepth DepthToSpace AvgPool AvgPool3D ResizeBilinear
    ResizeNearestNeighbor ResizeBicubic ResizeArea Diag DiagPart MatrixDiag MatrixDiagV2 MatrixDiagV3 MatrixDiagPart
    MatrixDiagPartV2 MatrixDiagPartV3 MatrixSetDiag MatrixSetDiagV2 MatrixSetDiagV3 MatrixBandPart Roll ScatterNd
    ScatterNdNonAliasingAdd TensorScatterAdd TensorScatterSub TensorScatterUpdate TensorStridedSliceUpdate
    UnsortedSegmentSum SegmentSum SegmentMean SparseSegmentSum SparseSegmentMean SparseSegmentSqrtN
    SparseSegmentSumWithNumSegments SparseSegmentMeanWithNumSegments SparseSegmentSqrtNWithNumSegments Fill EnsureShape
    DynamicStitch DynamicPartition ParallelConcat SparseToDense SparseReduceSum RaggedTensorToTensor ExtractImagePatches
    ExtractVolumePatches TensorListFromTensor TensorListStack TensorListConcatV2 Real Imag Complex Conj
    ConjugateTranspose FFT IFFT FFT2D IFFT2D FFT3D IFFT3D RFFT IRFFT RFFT2D IRFFT2D""".split()
)
# Linear in their first input: a picture, sampled at places that must not depend on the explained input.
_SAMPLINGS = frozenset("CropAndResize ScaleAndTranslate ImageProjectiveTransformV2 ImageProjectiveTransformV3".split())
# Linear in their second input.
_SOLUTIONS = frozenset("MatrixSolve MatrixTriangularSolve BandedTriangularSolve".split())
_BILINEAR = frozenset(
    """MatMul BatchMatMul BatchMatMulV2 BatchMatMulV3 Conv2D Conv3D Conv DepthwiseConv2dNative Einsum Conv2DBackpropInput
    Conv3DBackpropInputV2 Cross SparseTensorDenseMatMul""".split()
)
# Their gradient belongs to the winner; a sort is a TopKV2.
MAXIMA = frozenset(
    """MaxPool MaxPoolV2 MaxPool3D MaxPoolWithArgmax Max Min Maximum Minimum TopKV2 SegmentMax SegmentMin
    UnsortedSegmentMax UnsortedSegmentMin TensorScatterMax TensorScatterMin Dilation2D""".split()
)
_BATCH_NORMS = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
_CONTROL_FLOW = frozenset("While StatelessWhile If StatelessIf Case StatelessCase".split())
_CALLS = frozenset("PartitionedCall StatefulPartitionedCall".split())

_COMPLEX_TYPES = frozenset({8, 18})  # DT_COMPLEX64, DT_COMPLEX128
_DIFFERENTIABLE_TYPES = FLOAT_TYPES | _COMPLEX_TYPES
_BY_STATISTICS = "normalisation by the batch's statistics"
_VARYING_PRODUCT = "product of two tensors that both depend on the input"


def is_flat(node: Any) -> bool:
    """Whether a node passes no gradient on: its derivative is zero or undefined."""
    return node.op in FLAT_OPS or (node.op == "Cast" and node.attr["DstT"].type not in _DIFFERENTIABLE_TYPES)


def is_affine(view: GraphView, name: str, varying: Collection[str]) -> bool:
    """Whether an elementwise node is affine in its inputs that are in `varying`; the other inputs count as constant."""
    op, inputs = view.nodes[name].op, view.inputs[name]
    varying_inputs = [i for i in inputs if i in varying]
    if op in _IDENTITIES or op in _SUMS:
        return True
    if op in _PRODUCTS:
        return len(varying_inputs) == 1
    if op in _QUOTIENTS:
        return len(varying_inputs) == 1 and inputs[0] in varying
    if op in _SELECTIONS:
        return inputs[0] not in varying
    return op == "Cast" and all(view.nodes[name].attr[a].type in _DIFFERENTIABLE_TYPES for a in ("SrcT", "DstT"))


def is_complex(node: Any) -> bool:
    """Whether an elementwise node computes with complex numbers."""
    return "T" in node.attr and node.attr["T"].type in _COMPLEX_TYPES


def unsupported_reason(view: GraphView, name: str, varying: Collection[str]) -> str | None:
    """Why a backward rule must not use the plain gradient of a node outside all regions; None if it may.

    `varying` are the tensors that depend on the entry tensors.
    """
    op, inputs = view.nodes[name].op, view.inputs[name]
    varying_inputs = [i for i in inputs if i in varying]
    if REPLACED in view.nodes[name].attr:
        op = view.nodes[name].attr[REPLACED].list.s[0].decode()
        return _BY_STATISTICS if op in _BATCH_NORMS else f"the operation {op}"
    if op in _LINEAR or op in MAXIMA:
        return None
    if (op in _SUMS or op in _PRODUCTS or op in _QUOTIENTS or op in _SELECTIONS) and is_affine(view, name, varying):
        return None
    if op in _BILINEAR and len(varying_inputs) == 1:
        return None
    if op in _SAMPLINGS or op in _SOLUTIONS:
        return None if varying_inputs == [inputs[0 if op in _SAMPLINGS else 1]] else _VARYING_PRODUCT
    if op == "StopGradient":
        return "a stopped gradient"
    if op in _BATCH_NORMS:
        at_inference = not view.nodes[name].attr["is_training"].b and varying_inputs == inputs[:1]
        return None if at_inference else _BY_STATISTICS
    if op in _BILINEAR or op in _PRODUCTS or op in _QUOTIENTS:
        return _VARYING_PRODUCT
    if op in ("SquaredDifference", "Pow") and len(varying_inputs) > 1:
        return _VARYING_PRODUCT
    if op in ("Softmax", "LogSoftmax"):
        return "softmax inside the network"
    if op in _CONTROL_FLOW:
        return "loop or condition (LSTM, GRU, ...)"
    return "call of an opaque function" if op in _CALLS else f"the operation {op}"
