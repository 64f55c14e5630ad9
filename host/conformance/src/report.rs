//! What a run found.

use std::fmt;
use std::time::Duration;

/// How one check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// Not as it should be; the sentence says what was expected and what came.
    Failed(String),
    /// Not run, and why: the capability is not promised, or the origin cannot be made to do this.
    Skipped(String),
}

/// One check of the suite.
#[derive(Clone, Debug)]
pub struct Check {
    /// `area/what`, for example `get/pinned-version-gone`.
    pub name: &'static str,
    /// What a plugin must do, in one sentence.
    pub rule: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub time: Duration,
}

/// All checks of a run, in the order they ran.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The checks.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether nothing failed and something passed.
    pub fn passed(&self) -> bool {
        let failed = self.checks.iter().any(|c| matches!(c.outcome, Outcome::Failed(_)));
        !failed && self.checks.iter().any(|c| c.outcome == Outcome::Passed)
    }

    fn count(&self, which: fn(&Outcome) -> bool) -> usize {
        self.checks.iter().filter(|c| which(&c.outcome)).count()
    }
}

impl fmt::Display for Report {
    /// A line for each check, the reason below those that did not pass, and the totals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            let word = match check.outcome {
                Outcome::Passed => "ok",
                Outcome::Failed(_) => "FAILED",
                Outcome::Skipped(_) => "skipped",
            };
            writeln!(f, "{:<36} {word} ({} ms)", check.name, check.time.as_millis())?;
            match &check.outcome {
                Outcome::Passed => {}
                Outcome::Failed(why) => writeln!(f, "    rule: {}\n    seen: {why}", check.rule)?,
                Outcome::Skipped(why) => writeln!(f, "    {why}")?,
            }
        }
        writeln!(
            f,
            "{} passed, {} failed, {} skipped",
            self.count(|o| *o == Outcome::Passed),
            self.count(|o| matches!(o, Outcome::Failed(_))),
            self.count(|o| matches!(o, Outcome::Skipped(_))),
        )
    }
}
