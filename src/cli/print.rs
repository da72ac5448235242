//! Tables for people, one document for machines.

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// `print!` for a reader who may have enough of it (`| head`): the rest is for nobody, and the command goes on to its end.
macro_rules! out {
    ($($what:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!($($what)*));
    }};
}

/// The same with the end of the line.
macro_rules! outln {
    ($first:literal $($rest:tt)*) => { $crate::cli::print::out!("{}\n", format_args!($first $($rest)*)) };
    () => { $crate::cli::print::out!("\n") };
}

pub(crate) use out;
pub(crate) use outln;

/// One JSON document on standard output.
pub fn json(value: &impl Serialize) {
    outln!("{}", serde_json::to_string_pretty(value).unwrap_or_default());
}

/// A table; nothing but `empty` when there are no rows.
pub fn table(headers: &[&str], rows: Vec<Vec<String>>, empty: &str) {
    if rows.is_empty() {
        outln!("{empty}");
        return;
    }
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(headers);
    for row in rows {
        table.add_row(row.into_iter().map(|cell| plain(&cell)));
    }
    outln!("{table}");
}

/// How many events were read of inputs whose length nobody knows. Only on a terminal: elsewhere it draws nothing.
pub fn progress() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} events, {per_sec}, {elapsed}") {
        bar.set_style(style);
    }
    bar
}

/// Text of findings can't move the cursor or forge lines.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// `2026-11-23 09:00:00` in UTC.
pub fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| at.strftime("%F %T").to_string())
}

/// How long ago, roughly.
pub fn ago(ms: i64, now: i64) -> String {
    let seconds = (now - ms).max(0) / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}
