//! `punctual-sim`: the scheduler in virtual time.

fn main() {}
