//! What was expected and what was seen, for people and for programs.

use crate::output::{Format, print_json, table};
use anyhow::Result;
use comfy_table::{Attribute, Cell, Color};
use serde::Serialize;
use std::io::Write as _;

/// Of the table where stdout is no terminal.
const WIDTH: u16 = 140;

/// One act, played.
#[derive(Serialize)]
pub(crate) struct Outcome {
    pub(crate) act: u8,
    pub(crate) name: &'static str,
    /// The rows of the reference that the act is about.
    pub(crate) rows: &'static [&'static str],
    pub(crate) expected: &'static str,
    pub(crate) seen: String,
    pub(crate) ok: bool,
    pub(crate) seconds: f64,
}

/// All acts that were played.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) acts: Vec<Outcome>,
    pub(crate) seconds: f64,
}

impl Report {
    pub(crate) fn all_held(&self) -> bool {
        self.acts.iter().all(|act| act.ok)
    }

    /// The one table at the end, or the one JSON document.
    pub(crate) fn print(&self, format: Format) -> Result<()> {
        if format == Format::Json {
            return print_json(self);
        }
        let mut table = table(["act", "expected", "seen", "held", "s"]);
        if table.width().is_none() {
            table.set_width(WIDTH);
        }
        for act in &self.acts {
            let held = if act.ok {
                Cell::new("yes").fg(Color::Green)
            } else {
                Cell::new("NO").fg(Color::Red).add_attribute(Attribute::Bold)
            };
            let name = Cell::new(format!("{} {}", act.act, act.name));
            table.add_row([
                name,
                Cell::new(act.expected),
                Cell::new(&act.seen),
                held,
                Cell::new(format!("{:.1}", act.seconds)),
            ]);
        }
        let held = self.acts.iter().filter(|act| act.ok).count();
        writeln!(std::io::stdout(), "{table}\n{held} of {} acts held, in {:.0} s", self.acts.len(), self.seconds)?;
        Ok(())
    }
}
