//! What keeps a flood from people: a rule that suddenly fails everywhere waits for approval, and nobody is interrupted
//! more often in a day than they agreed to. Pure: the engine says what happened and when.

mod budget;
mod storm;

pub use budget::{Budget, BudgetSettings, in_digest, owner};
use serde::{Deserialize, Serialize};
pub use storm::{Begins, StormSettings, Storms, storm_group, storm_notice};

use crate::finding::{Finding, Risk};

/// An action that the router keeps back by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Number of the action in the decision.
    pub action: usize,
    pub target: String,
    pub by: KeptBy,
    pub reason: String,
}

/// Why it is kept back, and where it shows instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptBy {
    /// In the one notice of the storm, until that is released.
    Storm,
    /// In the owner's next digest.
    Budget,
    /// Nowhere: the owner's last digest told it, and it still fails.
    Told,
}

impl KeptBy {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Storm => "storm",
            Self::Budget => "budget",
            Self::Told => "told",
        }
    }
}

/// The worst is never kept back, whatever goes on. An environment that nobody named counts as production.
pub fn is_never_kept(finding: &Finding, env: &str) -> bool {
    match finding.risk {
        Risk::Extreme => true,
        Risk::VeryHigh => matches!(env, "prod" | "unknown"),
        // A word unknown today may be the worst of all.
        Risk::Other(_) => true,
        Risk::Low | Risk::Medium | Risk::High | Risk::Missing => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_never_kept() {
        for (risk, env, expected) in [
            ("EXTREME", "dev", true),
            ("VERY_HIGH", "prod", true),
            ("VERY_HIGH", "unknown", true),
            ("VERY_HIGH", "dev", false),
            ("HIGH", "prod", false),
            ("NEW_WORD", "dev", true),
            ("", "prod", false),
        ] {
            let finding = Finding { risk: risk.into(), ..Finding::default() };
            assert_eq!(is_never_kept(&finding, env), expected, "{risk} in {env}");
        }
    }
}
