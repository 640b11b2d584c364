//! `punctual-bench`: the load generator.

fn main() {}
