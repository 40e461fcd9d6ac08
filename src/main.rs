//! The `starter` binary.

fn main() {}
