//! Prints what would be sent, one JSON object a line: for trying things out.

use serde::Deserialize;

use crate::file::JsonLines;

/// It takes no settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleConfig {}

impl ConsoleConfig {
    pub fn connect(self) -> JsonLines {
        JsonLines::to_console()
    }
}
