//! Prints a year of a company as JSON lines: food for `routes replay`.
//!
//! `cargo run --release -p simulators --example year -- 140 60 1 > year.jsonl`: accounts, resources in each, days between
//! two runs of the bot.

use std::io::{BufWriter, Write};

use simulators::year::{Year, YearOptions};

fn main() -> std::io::Result<()> {
    let mut options = YearOptions::default();
    let number = |place: usize| std::env::args().nth(place).and_then(|text| text.parse::<u64>().ok());
    options.accounts = number(1).and_then(|count| usize::try_from(count).ok()).unwrap_or(options.accounts);
    options.resources = number(2).unwrap_or(options.resources);
    options.run_every = number(3).unwrap_or(options.run_every);
    let mut out = BufWriter::new(std::io::stdout().lock());
    for event in Year::new(options) {
        writeln!(out, "{event}")?;
    }
    out.flush()
}
