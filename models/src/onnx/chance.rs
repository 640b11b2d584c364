//! Whether a model draws at random, so that equal inputs get different answers.

use super::{MODEL_GRAPH, each_field};

const GRAPH_NODE: u32 = 1;
const NODE_OPERATOR: u32 = 4;

/// The operators of ONNX that draw anew in each run. `Dropout` draws in training only, and no file that is served trains.
const DRAWING: [&str; 6] = [
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
];

/// The first operator of the graph that draws at random, if there is one. Graphs inside nodes (`If`, `Loop`) are not
/// looked into. The file was found to be a model before.
pub(crate) fn drawing_operator(bytes: &[u8]) -> Option<&'static str> {
    let mut found = None;
    // An error ends the search; whoever read the signature has told of it.
    let _ = each_field(bytes, |number, graph| match number {
        MODEL_GRAPH => each_field(graph, |number, node| match number {
            GRAPH_NODE => each_field(node, |number, operator| {
                let known = |name: &&&str| number == NODE_OPERATOR && name.as_bytes() == operator;
                found = found.or(DRAWING.iter().find(known).copied());
                Ok(())
            }),
            _ => Ok(()),
        }),
        _ => Ok(()),
    });
    found
}
