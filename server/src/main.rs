//! `punctual`: the server and its tools.

fn main() {}
