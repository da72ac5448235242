//! Prints a generated scan as JSON lines: food for `routes replay`.
//!
//! `cargo run --release -p simulators --example scan -- 2200000 > events.jsonl`

use std::io::{BufWriter, Write};

use simulators::scan::{Scan, ScanOptions};

fn main() -> std::io::Result<()> {
    let checks = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(20_000);
    let mut out = BufWriter::new(std::io::stdout().lock());
    for check in Scan::new(ScanOptions { checks, ..ScanOptions::default() }) {
        writeln!(out, "{check}")?;
    }
    out.flush()
}
