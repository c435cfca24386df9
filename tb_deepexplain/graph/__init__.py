"""A model as a TensorFlow graph: loading it, cutting it, and changing its backward pass.

Read `model_graph.py` first, then `submodel.py`: a ModelGraph is a whole model, a Submodel its part from the entry tensors
to the explained output.

loading/             every form of model → ModelGraph; `load_model.py` decides which file loads it
input_spec.py        name, dtype and shape of one input
origin.py            the model that a graph was traced from
inlining.py          a function with all its calls → one flat graph
lowering.py          convolutions and poolings that a CPU cannot run → ops that it can
function_library.py  the functions of a graph, and new names for them
double_precision.py  the graph of a model in float64
double_kernels.py    ops without a float64 kernel as others that have one
rank_inference.py    tensor ranks that TensorFlow does not know
determinism.py       refuses models whose output depends on chance

graph_view.py        a graph that can be walked in both directions; every analysis below uses it
cut.py               where a model is cut: its entry tensors, context and output
entries.py           the tensors at which methods enter, and the input whose map they make
encodings.py         the first real-valued tensors computed from integers, booleans or strings
logits.py            the logits before a final softmax or sigmoid
score_function.py    a score function of the outputs, as nodes of the graph
embedding_lookups.py the embeddings of integer and string inputs
tensor_types.py      types of the tensors that a node reads and returns
tensor_names.py      names of layers and tensors, as users write them

regions.py           the activation regions between entry tensors and output
op_classes.py        what each TensorFlow op computes: elementwise, linear, ...
backward_rules.py    applies a backward rule (ε-LRP, DeepLIFT) to the regions
imported_graph.py    imports a graph into a function, with replaced tensors

differentiation.py   TensorFlow's gradients, with its errors as sentences
gradient_blocks.py   steps that pass no gradient on
custom_gradients.py  gradients that a model writes itself: kept where they can be traced again
weights.py           the weights of each layer
"""
